"""Tables 2 and 6, Figure 5: none, random and alternating flip; the effective speedup."""
