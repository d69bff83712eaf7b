"""Table 4 and Figure 6: variance between runs and calibration."""
