"""The tables and figures of Jordan 2024 (arXiv 2404.00498), trained and compared with: python -m airjax experiments."""
