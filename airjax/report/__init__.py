"""Results as pages: networks, sweeps, data sets and predictions."""
