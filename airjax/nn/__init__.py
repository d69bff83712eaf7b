"""Networks and their initialisation."""
