"""The numbers of 94-hiverge that are rules: when kernels are rescaled, how many passes an evaluation takes."""

import itertools

import pytest

from airjax.recipes.augmentation import Tta
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe


def test_kernels_are_rescaled_where_the_growing_interval_has_passed() -> None:
    # Counted from 1: after step k the interval is 2 + floor(15 k / 245), which is 3 from step 17 on, 4 from 33 on.
    at = RECIPES["94-hiverge"].optimizer.renormalizes(245)  # pyright: ignore[reportAttributeAccessIssue]
    steps = [number for number, due in enumerate(at, start=1) if due]
    assert steps[:16] == [2, 4, 6, 8, 10, 12, 14, 16, 19, 22, 25, 28, 31, 35, 39, 43]
    assert len(at) == 245
    gaps = [second - first for first, second in itertools.pairwise(steps)]
    assert gaps == sorted(gaps)
    assert all(gap == 2 + 15 * step // 245 for gap, step in zip(gaps, steps[1:], strict=True))
    assert Muon().renormalizes(4) == (True,) * 4
    assert Muon(renormalize_every=3).renormalizes(7) == (False, False, True, False, False, True, False)


@pytest.mark.parametrize(
    ("level", "mirror", "fraction", "passes"),
    [(2, True, 1.0, 6.0), (2, True, 0.25, 2.5), (1, True, 0.5, 2.0), (2, False, 0.5, 2.5), (0, True, 0.5, 1.0)],
)
def test_selected_images_have_a_plain_pass_before_their_views(
    level: int, mirror: bool, fraction: float, passes: float
) -> None:
    assert Tta(level, mirror, fraction).passes_per_image == passes


def test_the_selected_fraction_is_rounded_up() -> None:
    assert [Tta(tta_fraction=0.25).num_selected(count) for count in (1, 4, 5, 10_000)] == [1, 1, 2, 2500]
    assert [Tta(tta_fraction=fraction).num_selected(100) for fraction in (0.07, 0.28, 0.281)] == [7, 28, 29]


def test_flops_are_those_of_245_steps_and_two_and_a_half_passes_of_the_test_set() -> None:
    assert RECIPES["94-hiverge"].flops == pytest.approx(2 * 118.15e6 * (3 * 245 * 1536 + 25_000), rel=1e-4)


def test_every_ingredient_goes_into_94_alone_and_none_is_in_it() -> None:
    plain, changed = RECIPES["94"].flat(), RECIPES["94-hiverge"].flat()
    names = ("activation", "batchnorm_half", "brightness", "contrast", "tta_fraction", "tta_uniform")
    for name in names:
        assert changed[name] != plain[name]
        recipe = RECIPES["94"].override(**{name: changed[name]})
        assert Recipe.from_dict(recipe.to_dict()) == recipe != RECIPES["94"]
    muon = RECIPES["94-muon"].flat()
    for name in ("renormalize_every", "renormalize_growth", "conv_weight_decay"):
        assert changed[name] != muon[name]


def test_recipes_stored_before_the_new_fields_load_as_they_were() -> None:
    stored = RECIPES["94-muon"].to_dict()
    for part, names in {
        "network": ("activation", "batchnorm_half"),
        "augmentation": ("brightness", "contrast"),
        "evaluation": ("tta_fraction", "tta_uniform"),
        "optimizer": ("renormalize_every", "renormalize_growth", "conv_weight_decay"),
    }.items():
        stored[part] = {name: value for name, value in stored[part].items() if name not in names}
    assert Recipe.from_dict(stored) == RECIPES["94-muon"]
