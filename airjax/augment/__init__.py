"""Randomness as arrays of draws, and images moved by them."""
