"""Table 1: order of the examples and flip."""
