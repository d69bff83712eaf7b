"""What a study found, as tables of text: for the page and for a terminal."""

from typing import Any

from airjax.report.page import Table, format_p
from parity.study import FRAMEWORKS
from parity.verdict import SECONDARY, SIGNIFICANCE

NETWORK_HEADS = ["", "networks", "mean accuracy, % (95%)", "standard deviation (95%)", "range, %", "median seconds"]
TEST_HEADS = ["hypothesis", "measured", "p", "verdict at 5%"]


def network_table(result: dict[str, Any]) -> Table:
    """Tabulate the accuracies and times of each framework that has networks."""
    rows = []
    for framework in FRAMEWORKS:
        values = result["networks"][framework]
        if "mean" not in values:
            continue
        low, high = values["mean_interval"]
        low_sd, high_sd = values["sd_interval"]
        seconds = ", ".join(f"{part} {time:.2f}" for part, time in values["seconds"].items())
        rows.append(
            [
                result["framework"][framework],
                str(values["n"]),
                f"{values['mean']:.3f} ({low:.3f} to {high:.3f})",
                f"{values['sd']:.3f} ({low_sd:.3f} to {high_sd:.3f})",
                f"{values['min']:.2f} to {values['max']:.2f}",
                seconds,
            ]
        )
    return Table(NETWORK_HEADS, rows)


def test_table(result: dict[str, Any]) -> Table:
    """Tabulate the tests of a finished study."""
    means, shapes, examples = result["means"], result["distributions"], result["examples"]
    (low, high), (low_sd, high_sd) = means["interval90"], shapes["sd_ratio_interval"]
    rows = [
        [
            f"equal means, to within ±{means['margin']:g} points (two one-sided t-tests, the primary test)",
            f"difference {means['difference']:+.3f}, 90% interval {low:+.3f} to {high:+.3f}",
            format_p(means["equivalence_p"]),
            "equivalent" if means["equivalence_p"] < SIGNIFICANCE else "not shown",
        ],
        [
            "different means (Welch's t-test)",
            f"standard error {means['standard_error']:.3f}",
            format_p(means["difference_p"]),
            "different" if means["difference_p"] < SIGNIFICANCE else "not shown",
        ],
    ]
    found = {
        "kolmogorov-smirnov": f"largest distance {shapes['kolmogorov_smirnov']:.3f}",
        "mann-whitney": f"an airjax network is the better one with probability {shapes['mann_whitney']:.3f}",
        "brown-forsythe": f"ratio of standard deviations {shapes['sd_ratio']:.2f} (95% {low_sd:.2f} to {high_sd:.2f})",
        "examples": (
            f"distance of halves: {100 * examples['across']:.2f} points across, {100 * examples['within']:.2f} within "
            f"a framework; correlation {examples['across_correlation']:.3f} and {examples['within_correlation']:.3f}"
        ),
    }
    for test, text in SECONDARY.items():
        p = result["p_adjusted"][test]
        rows.append([f"different: {text}", found[test], format_p(p), "different" if p < SIGNIFICANCE else "not shown"])
    return Table(TEST_HEADS, rows)


def power_sentence(result: dict[str, Any]) -> str:
    """Say what so many networks could show, and how p-values were adjusted."""
    means = result["means"]
    return (
        f"With equal means and these spreads, {result['networks']['airjax']['n']} networks of each are shown "
        f"equivalent at this margin with probability {means['power']:.0%}; for 90% it takes {means['runs_needed']:,} "
        "of each. The p-values of the last four tests are adjusted for being four (Holm)."
    )
