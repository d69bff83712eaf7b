import pytest

from airjax.utils.units import format_bytes, format_seconds


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.000377 * 3600, "1.4 s"),
        (95, "95 s"),
        (119.6, "2 min"),
        (45 * 60, "45 min"),
        (2 * 3600, "2.0 h"),
        (20 * 3600, "20.0 h"),
        (84 * 3600, "3.5 days"),
    ],
)
def test_a_duration_is_said_in_a_unit_that_it_has_two_of(seconds: float, expected: str) -> None:
    assert format_seconds(seconds) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(512, "512 bytes"), (51_600, "51.6 kB"), (2.4e6, "2.4 MB"), (7.2e9, "7.2 GB"), (3e12, "3.0 TB")],
)
def test_a_size_is_said_in_decimal_units(size: float, expected: str) -> None:
    assert format_bytes(size) == expected
