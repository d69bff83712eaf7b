"""Files, environment, messages: what every room uses."""
