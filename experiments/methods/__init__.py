"""Methods: how many steps and operations each takes to a fixed accuracy, at mini scale."""
