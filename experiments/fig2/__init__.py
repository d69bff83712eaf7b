"""Figure 2: the whitening filters as pictures."""
