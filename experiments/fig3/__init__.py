"""Figure 3: error against epochs and against operations, of three sizes of network."""
