"""Data sets that do not fit into memory: trees of images as batches, decoded while a network trains."""
