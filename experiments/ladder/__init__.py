"""The ladder of sections 3.1 to 3.6 and Figure 4: features added and removed, epochs to a target."""
