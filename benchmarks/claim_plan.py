"""Plan the verification of a recipe's claim: how many networks test it, and how likely they end in a verdict."""

from typing import NamedTuple

from airjax.recipes.published import CLAIMS, get_recipe
from airjax.stats.claims import LEVEL, POWER, claim_power
from airjax.utils.seeds import check_seed
from airjax.utils.units import format_bytes
from benchmarks.record_rows import runs_to_claim

LIKELY = 0.5  # smallest probability of a verdict with which a training is begun unasked
CIFAR10 = "cifar10"


class Plan(NamedTuple):
    """A claim and the networks that are to test it."""

    recipe: str
    target: float  # in [0, 1]
    seeds: int  # number of networks
    seed: int  # of the first
    data: str
    precision: str | None  # None: the recipe's own

    @property
    def all_seeds(self) -> range:
        """Return the seeds of all networks."""
        return range(self.seed, self.seed + self.seeds)


def make_plan(
    recipe: str, *, target: float | None, seeds: int | None, seed: int = 0, data: str = CIFAR10, precision: str | None
) -> Plan:
    """Make a plan from what a user asks for: the target in percent, None for what the recipe claims or needs.

    Raises ValueError for an unknown recipe, a claim without a target, or a number of networks that is not known, or is
    too small for a p-value.
    """
    get_recipe(recipe)
    fraction = _target(recipe, target, data)
    needed, remedy = runs_to_claim(recipe, fraction) if data == CIFAR10 else None, _how_many(recipe, fraction, data)
    if seeds is None and needed is None:
        raise ValueError(f"how many networks the claim of {recipe} needs is not known: {remedy}")
    seeds = seeds if seeds is not None else needed or 0
    if seeds < 2:
        raise ValueError(f"seeds is {seeds}, but a mean has a p-value from 2 networks: {remedy}")
    check_seed(seed)
    check_seed(seed + seeds - 1)
    return Plan(recipe, fraction, seeds, seed, data, precision)


def plan_power(plan: Plan) -> float | None:
    """Compute the probability that a plan's networks verify or refute the claim.

    That is if the recipe reaches what it is known for, and spreads over seeds as 94 does where that is not known; None
    where nothing is known for this data.
    """
    claim = CLAIMS[plan.recipe]
    sd = claim.expected_sd or CLAIMS["94"].expected_sd
    if plan.data != CIFAR10 or claim.expected_accuracy is None or sd is None:
        return None
    return claim_power(claim.expected_accuracy, sd, plan.target, plan.seeds)


def require_power(plan: Plan) -> None:
    """Raise ValueError for a plan whose networks probably leave the claim open."""
    power = plan_power(plan)
    if power is not None and power < LIKELY:
        remedy = f"{_how_many(plan.recipe, plan.target, plan.data)}, or --underpowered to train them all the same"
        raise ValueError(
            f"{plan.seeds:,} networks verify or refute that {plan.recipe} reaches {plan.target:.2%} with a probability "
            f"of {power:.0%} only: {remedy}"
        )


def describe_plan(plan: Plan) -> str:
    """Say what a plan trains, and how likely that is to end in a verdict."""
    power, chance = plan_power(plan), "how likely a verdict is, is not known"
    if power is not None:
        known = CLAIMS[plan.recipe].expected_accuracy
        chance = f"known for {known:.2%}, it gets a verdict with a probability of {power:.0%}"
    size = format_bytes(4 * get_recipe(plan.recipe).num_params * plan.seeds)
    return (
        f"{plan.recipe} on {plan.data}, mean accuracy above {plan.target:.2%} at p < {LEVEL:g}: {plan.seeds:,} "
        f"networks from seed {plan.seed}, all of which are trained ({size} in --out); {chance}"
    )


def _target(recipe: str, target: float | None, data: str) -> float:
    if target is None and data != CIFAR10:
        raise ValueError(f"what {recipe} claims is on cifar10; say what it is to reach on {data}: --target PERCENT")
    claimed = CLAIMS[recipe].target
    if target is None and claimed is None:
        raise ValueError(f"{recipe} claims no accuracy; say which one is to be tested: --target PERCENT")
    if target is not None and not 1 < target < 100:
        raise ValueError(f"target is {target:g}, but it must be a percentage of more than 1 and less than 100")
    return target / 100 if target is not None else claimed or 0.0


def _how_many(recipe: str, target: float, data: str) -> str:
    if data != CIFAR10:
        return "give --seeds N"
    needed = runs_to_claim(recipe, target)
    if needed:
        return f"give --seeds N; {needed:,} networks give a verdict with a probability of {POWER:.0%}"
    similar = runs_to_claim(recipe, target, CLAIMS["94"].expected_sd)
    assumed = "with the standard deviation of 94, {:,} would give a verdict with a probability of {:.0%}"
    return "give --seeds N" + (f"; {assumed.format(similar, POWER)}" if similar else "")
