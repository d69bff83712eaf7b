"""Figure 1: which epochs show which of the 2N inputs."""
