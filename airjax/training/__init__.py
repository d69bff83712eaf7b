"""From a recipe and data to trained networks."""
