"""Ranges of numbers, with their words for messages, and what marks a number as traced."""

from airjax.utils.fields import Range

LARGEST_COUNT = 100_000_000  # examples

CHANNELS: Range = (lambda widths: all(1 <= width <= 16_384 for width in widths), "of channels from 1 to 16384")

GROUPS: Range = (lambda groups: 1 <= groups <= 25_000, "of groups from 1 to 25000")

# A number that a compiled run takes as an argument: other values compile nothing.
TRACED = {"traced": True}


def between(low: float, high: float, unit: str = "") -> Range:
    """Return the range with both ends included."""
    return lambda value: low <= value <= high, f"from {low:g} to {high:.12g}{unit}"


def above(low: float, high: float, unit: str = "") -> Range:
    """Return the range with the upper end included."""
    return lambda value: low < value <= high, f"more than {low:g} and at most {high:.12g}{unit}"


def below(low: float, high: float) -> Range:
    """Return the range with the lower end included."""
    return lambda value: low <= value < high, f"in [{low:g}, {high:g})"


def at_least(low: int, unit: str) -> Range:
    """Return the range of a count of examples."""
    return lambda value: low <= value <= LARGEST_COUNT, f"of {unit} from {low} to {LARGEST_COUNT}"
