"""PyTorch reference and comparison with airjax: the only place torch lives."""
