"""What the plans of the CPU scale assume of mini."""
