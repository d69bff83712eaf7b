"""Statistics of many networks, in numpy and scipy."""
