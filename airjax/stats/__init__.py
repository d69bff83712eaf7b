"""Statistics of many networks, by scipy and statsmodels where they have them."""
