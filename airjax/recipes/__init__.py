"""What to train: frozen values without arrays."""
