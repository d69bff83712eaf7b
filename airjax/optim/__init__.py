"""Optax transformations and schedules."""
