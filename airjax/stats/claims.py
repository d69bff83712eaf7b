"""Test a claim about a recipe: is its mean accuracy over seeds above the target?

The rule is that of the NanoGPT speedrun (KellerJordan/modded-nanogpt, submission rules), turned from a loss to an
accuracy: enough runs for p < 0.01 in a one-sided t-test that the mean reaches the target.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from airjax.stats.intervals import sample_sd
from airjax.stats.power import runs_to_resolve, welch_power

ClaimVerdict = Literal["verified", "refuted", "not resolved at this n"]

LEVEL = 0.01  # the largest p that verifies or refutes
POWER = 0.9  # probability of a verdict, where a number of runs is planned


class ClaimTest(NamedTuple):
    """What runs say of the claim that their mean is above a target. A p is None for fewer than two runs."""

    p: float | None  # of a mean this far above the target or farther, if the true mean is below: small verifies
    p_above: float | None  # of a mean this far below it, if the true mean is above: small refutes
    verdict: ClaimVerdict


def judge_claim(accuracies: Sequence[float], target: float, level: float = LEVEL) -> ClaimTest:
    """Test by Student's one-sided t-test whether the mean of accuracies is above a target, in the same unit.

    Runs that are all equal have no spread to judge by: both p are 1. Raises ValueError without any run, or for one
    that is not finite.
    """
    from scipy.stats import ttest_1samp

    if not len(accuracies) or not np.isfinite(accuracies).all():
        raise ValueError(f"a claim needs accuracies, all finite; there are {len(accuracies)}")
    if len(accuracies) < 2:
        return ClaimTest(None, None, "not resolved at this n")
    if sample_sd(accuracies) == 0:
        return ClaimTest(1.0, 1.0, "not resolved at this n")
    p, p_above = (
        float(np.asarray(ttest_1samp(accuracies, target, alternative=side))[1]) for side in ("greater", "less")
    )
    verdict: ClaimVerdict = "verified" if p < level else "refuted" if p_above < level else "not resolved at this n"
    return ClaimTest(p, p_above, verdict)


def claim_power(expected: float, sd: float, target: float, runs: int, level: float = LEVEL) -> float:
    """Compute the probability that so many runs verify or refute a claim, if their true mean and deviation are these.

    A two-sided test at twice the level is the two one-sided ones; a second sample without spread is the target.
    """
    return welch_power(expected - target, sd, 0.0, runs, runs, 2 * level)


def runs_for_claim(expected: float, sd: float, target: float, level: float = LEVEL, power: float = POWER) -> int | None:
    """Find the smallest number of runs with which `claim_power` is `power`; None where no number is.

    That is so where the expected mean is the target itself.
    """
    return None if expected == target else runs_to_resolve(expected - target, sd, 0.0, 2 * level, power)
