"""The command lines, and what they show and write."""
