"""Durations and sizes as people say them."""


def format_seconds(seconds: float) -> str:
    """Format a duration in the largest unit that it has two of: "1.4 s", "95 s", "45 min", "20.0 h", "3.5 days"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    if seconds < 119.5 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:,.1f} days"


def format_bytes(size: float) -> str:
    """Format a size in bytes in decimal units: "512 bytes", "51.6 kB", "2.4 GB"."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:.0f} bytes"
