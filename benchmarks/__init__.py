"""Measurements. Every figure in the documentation is a line of benchmarks/results/ that a command here wrote."""
