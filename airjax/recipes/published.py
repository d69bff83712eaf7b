"""The recipes by name, each with its claim. A new method is a file beside this one, and a line in each table."""

from typing import Any

from airjax.recipes import (
    airbench94,
    airbench94_airjax,
    airbench94_curriculum,
    airbench94_hiverge,
    airbench94_muon,
    airbench95,
    airbench96,
    airbench96_faster,
    imagenet_resnet18,
    mini,
    resnet18,
)
from airjax.recipes.claim import Claim
from airjax.recipes.recipe import Recipe, has_part

RECIPES: dict[str, Recipe] = {
    "94": airbench94.AIRBENCH94,
    "95": airbench95.AIRBENCH95,
    "96": airbench96.AIRBENCH96,
    "96-paper": airbench96.AIRBENCH96_PAPER,
    "mini": mini.MINI,
    "tiny": mini.TINY,
    "resnet18": resnet18.RESNET18,
    "resnet18-80": resnet18.RESNET18_80,
    "94-muon": airbench94_muon.AIRBENCH94_MUON,
    "mini-muon": airbench94_muon.MINI_MUON,
    "96-faster": airbench96_faster.AIRBENCH96_FASTER,
    "mini-faster": airbench96_faster.MINI_FASTER,
    "94-hiverge": airbench94_hiverge.AIRBENCH94_HIVERGE,
    "94-curriculum": airbench94_curriculum.AIRBENCH94_CURRICULUM,
    "94-airjax": airbench94_airjax.AIRBENCH94_AIRJAX,
    "imagenet-resnet18-16": imagenet_resnet18.IMAGENET_RESNET18_16,
    "imagenet-resnet18-20": imagenet_resnet18.IMAGENET_RESNET18_20,
    "imagenet-resnet18-88": imagenet_resnet18.IMAGENET_RESNET18_88,
}

CLAIMS: dict[str, Claim] = {
    "94": airbench94.CLAIM,
    "95": airbench95.CLAIM,
    "96": airbench96.CLAIM,
    "96-paper": airbench96.CLAIM_PAPER,
    "mini": mini.CLAIM,
    "tiny": mini.CLAIM_TINY,
    "resnet18": resnet18.CLAIM,
    "resnet18-80": resnet18.CLAIM_80,
    "94-muon": airbench94_muon.CLAIM,
    "mini-muon": airbench94_muon.CLAIM_MINI,
    "96-faster": airbench96_faster.CLAIM,
    "mini-faster": airbench96_faster.CLAIM_MINI,
    "94-hiverge": airbench94_hiverge.CLAIM,
    "94-curriculum": airbench94_curriculum.CLAIM,
    "94-airjax": airbench94_airjax.CLAIM,
    "imagenet-resnet18-16": imagenet_resnet18.CLAIM_16,
    "imagenet-resnet18-20": imagenet_resnet18.CLAIM_20,
    "imagenet-resnet18-88": imagenet_resnet18.CLAIM_88,
}


def get_recipe(name: str | Recipe) -> Recipe:
    """Return the recipe of that name, or the recipe itself.

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


def expected_on_cifar10(name: str, content: str) -> float | None:
    """Return the mean accuracy, in [0, 1], that a recipe is known to reach on CIFAR-10 with its images in this order.

    None where nobody measured it: a recipe that trains on the first images of a split has others in a shuffled copy.
    """
    whole = RECIPES[name].value_of("train_examples") == Recipe().value_of("train_examples")
    same = content == "official" or (content == "shuffled" and whole)
    return CLAIMS[name].expected_accuracy if same else None


def changed_fields(name: str, recipe: Recipe) -> dict[str, Any]:
    """Return the fields in which a recipe differs from the one of that name, with their values."""
    named = RECIPES[name].flat()
    now = recipe.flat()
    # Of a part that is left out its switch says all.
    return {name: now[name] for name in named if now[name] != named[name] and has_part(recipe, name)}


def summarize(name: str) -> dict[str, Any]:
    """Sum up what a recipe costs and reaches: the record that `python -m airjax.recipe --json` prints."""
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
