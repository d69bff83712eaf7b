"""Table 5: other data sets, and ResNet-18."""
