"""Table 3: none, random and alternating flip on ImageNet, with heavy and light crops."""
