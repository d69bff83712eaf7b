"""The recipes by name, each a claim: what it is expected to reach, and the evidence."""

from dataclasses import dataclass, replace
from typing import Any

from airjax.recipes.recipe import Recipe


def get_recipe(name: str | Recipe) -> Recipe:
    """The recipe of that name, or the recipe itself.

    Raises ValueError for a name that there is not, and TypeError for anything else; both list the names there are.
    """
    if isinstance(name, Recipe):
        return name
    if not isinstance(name, str):
        kind = type(name).__name__
        raise TypeError(f"a recipe is a Recipe or the name of one, not {kind}; the recipes are {', '.join(RECIPES)}")
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; the recipes are {', '.join(RECIPES)}")
    return RECIPES[name]


@dataclass(frozen=True)
class Claim:
    """What a recipe, unchanged, is for and is known to reach on CIFAR-10."""

    summary: str
    target: float | None  # test accuracy that it is meant to reach, in [0, 1]
    expected_accuracy: float | None  # mean over seeds, in [0, 1]; None if nobody has measured it
    expected_sd: float | None  # standard deviation over seeds, in [0, 1]; None if unknown
    evidence: str  # where the two numbers come from


_94 = Recipe()


_96 = Recipe(
    epochs=37.0,
    widths=(128, 384, 512),
    convs_per_block=3,
    residual="before-activation",
    batchnorm_momentum=0.9,
    learning_rate=9.0,
    weight_decay=0.012,
    schedule_peak=0.1,
    schedule_end=0.0,
    translate=4,
    cutout=12,
)


_MINI = Recipe(
    epochs=3.0,
    batch_size=50,
    train_examples=3000,
    test_examples=2000,
    widths=(16, 32, 32),
    whiten_bias_epochs=1.0,
)


RECIPES: dict[str, Recipe] = {
    "94": _94,
    "95": replace(_94, epochs=15.0, widths=(128, 384, 384), learning_rate=10.0),
    "96": _96,
    "96-paper": replace(
        _96,
        epochs=40.0,
        widths=(128, 512, 512),
        residual="after-activation",
        batchnorm_momentum=0.6,
        weight_decay=0.0153,
        schedule_peak=0.23,
        schedule_end=0.07,
    ),
    "mini": _MINI,
    "tiny": replace(
        _MINI,
        epochs=2.0,
        batch_size=32,
        train_examples=256,
        test_examples=100,
        whiten_examples=100,
        widths=(8, 8, 8),
    ),
}


CLAIMS: dict[str, Claim] = {
    "94": Claim(
        "94% in 9.9 epochs",
        0.94,
        0.9401,
        0.00128,
        "Jordan 2024: n=1000 runs in float16 on an A100; the deviation over 10,000 runs",
    ),
    "95": Claim("95% in 15 epochs", 0.95, 0.9501, None, "Jordan 2024: n=200 runs in float16 on an A100"),
    "96": Claim("96% in 37 epochs, as released", 0.96, 0.9603, None, "airbench96: n=400 runs in float16 on an A100"),
    "96-paper": Claim(
        "96% in 40 epochs, as in the paper", 0.96, 0.9605, None, "Jordan 2024: n=200 runs in float16 on an A100"
    ),
    "mini": Claim(
        "94 scaled down, for studies on a CPU",
        None,
        0.3955,
        0.0184,
        "benchmarks/results/parity.jsonl: n=100 runs in float32 on a CPU, on 2,000 test images",
    ),
    "tiny": Claim("a second or less, for tests of machinery", None, None, None, "learns next to nothing"),
}


def summarize(name: str) -> dict[str, Any]:
    """What a recipe costs and promises: the record that `python -m airjax.recipe --json` prints."""
    recipe, claim = get_recipe(name), CLAIMS[name]
    return {
        "name": name,
        "summary": claim.summary,
        "epochs": recipe.epochs,
        "steps": recipe.total_steps,
        "params": recipe.num_params,
        "flops": recipe.flops,
        "expected_accuracy": claim.expected_accuracy,
        "evidence": claim.evidence,
    }
