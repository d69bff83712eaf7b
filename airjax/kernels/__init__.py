"""Fast array functions for one platform."""
