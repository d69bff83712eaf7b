"""Image sizes over time and the tail, as numbers of a recipe."""

import json
from typing import Any

import pytest

from airjax.recipes.curriculum import Curriculum, Tail
from airjax.recipes.inputs import Inputs
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Phase, Recipe

RECIPE = RECIPES["94-curriculum"]
FROZEN = ("whiten_bias",)


def test_a_phase_for_each_size_and_another_where_the_bias_freezes() -> None:
    assert (RECIPE.steps_per_epoch, RECIPE.total_steps, RECIPE.schedule_steps) == (25, 229, 225)
    assert RECIPE.phases() == (Phase(0, 75, (), 24), Phase(75, 150, FROZEN, 28), Phase(150, 229, FROZEN))
    earlier = RECIPE.override(whiten_bias_epochs=1.0, curriculum_epochs=(1.5, 2.0)).phases()
    assert earlier == (
        Phase(0, 25, (), 24),
        Phase(25, 38, FROZEN, 24),
        Phase(38, 50, FROZEN, 28),
        Phase(50, 229, FROZEN),
    )


def test_a_short_training_ends_before_the_sizes_do() -> None:
    short = RECIPE.override(epochs=4.0)
    assert short.phases() == (Phase(0, 75, (), 24), Phase(75, 100, FROZEN, 28))


def test_a_size_that_is_the_data_s_own_is_no_phase_of_its_own() -> None:
    small = RECIPE.fit_to(50_000, 10_000, Inputs(28, 1, 10, (0.5,), (0.5,)))
    assert small.phases() == (Phase(0, 75, (), 24), Phase(75, 229, FROZEN))
    same = RECIPES["94-muon"].override(curriculum=True, curriculum_sizes=(32,), curriculum_epochs=(1.0,))
    assert same.phases() == RECIPES["94-muon"].phases()


def test_operations_are_counted_at_each_size() -> None:
    # By hand: (outputs in pixels) x 9 x (channels in) x (channels out) of each convolution, the first one's 4 x 3 x 24,
    # and the head. 24 pixels leave 23, 11, 5 and 2; 28 leave 27, 13, 6 and 3.
    kernels = 9 * 24 * 64, 9 * 64 * 64, 9 * 64 * 256, 9 * 256 * 256
    macs = {}
    for size, (a, b, c, d) in {24: (23, 11, 5, 2), 28: (27, 13, 6, 3), 32: (31, 15, 7, 3)}.items():
        areas = a * a, b * b, b * b, c * c + c * c + d * d
        macs[size] = a * a * 288 + sum(k * n for k, n in zip(kernels, areas, strict=True)) + 2560
    assert macs == {size: RECIPE.macs_at(size) for size in (24, 28, 32)}
    assert RECIPE.forward_macs == macs[32] == RECIPES["94"].forward_macs
    assert RECIPE.training_flops == 6 * 2000 * (75 * macs[24] + 75 * macs[28] + 79 * macs[32])
    assert RECIPE.flops == RECIPE.training_flops + 2 * 60_000 * macs[32]


def test_both_are_left_out_of_other_recipes_and_are_switched_on_in_any() -> None:
    for name, recipe in RECIPES.items():
        if name not in ("94-curriculum", "94-airjax") and recipe.cropping is None:
            assert (recipe.resolution, recipe.ending) == (None, None)
            assert recipe.schedule_steps == recipe.total_steps
            assert recipe.training_flops == pytest.approx(recipe.total_steps * recipe.step_flops(), rel=1e-12)
    changed = RECIPES["resnet18-80"].override(curriculum=True, curriculum_sizes=[16], curriculum_epochs=[2], tail=True)
    assert (changed.resolution, changed.ending) == (Curriculum((16,), (2.0,)), Tail())
    assert [phase.image_size for phase in changed.phases()] == [16, None]
    assert RECIPE.override(curriculum=False, tail=False, epochs=8.0) == RECIPES["94-muon"]
    with pytest.raises(ValueError, match="curriculum-sizes is set, but the recipe has no resolution"):
        RECIPES["94"].override(curriculum_sizes=(24,))


def test_recipes_survive_json_and_those_of_earlier_versions_have_neither() -> None:
    written = json.loads(json.dumps(RECIPE.to_dict()))
    assert (written["resolution"]["kind"], written["ending"]["kind"]) == ("curriculum", "tail")
    assert Recipe.from_dict(written) == RECIPE
    earlier = RECIPES["94-muon"].to_dict()
    del earlier["resolution"], earlier["ending"], earlier["network"]["final_pool"]
    assert Recipe.from_dict(earlier) == RECIPES["94-muon"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curriculum_sizes": (24,)}, "curriculum-sizes has 1 sizes, but curriculum-epochs 2: one for each size"),
        ({"curriculum_sizes": (), "curriculum_epochs": ()}, "curriculum-sizes is .*of at least one size from 1 to 512"),
        ({"curriculum_epochs": (6.0, 3.0)}, "curriculum-epochs is .* in ascending order"),
        ({"curriculum_sizes": (24, 40)}, "images of 32 pixels are only scaled down: make each of them at most 32"),
        (
            {"curriculum_sizes": (8, 16)},
            "images have 8 pixels a side, but the network's three pools need at least 9",
        ),
        ({"tail_steps": 229}, "tail-steps is 229, but the training has only 229 steps; make tail-steps smaller"),
        ({"tail_every": 0}, "tail-every is 0, but it must be a whole number from 1"),
        ({"final_pool": "sum"}, "final-pool is 'sum', but it must be one of max, mean"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RECIPE.override(**change)


def test_our_own_recipe_is_muon_with_the_curriculum_alone() -> None:
    ours = RECIPES["94-airjax"]
    assert ours.override(curriculum=False, epochs=8.0) == RECIPES["94-muon"]
    assert ours.ending is None
    assert ours.total_steps == 225
    assert ours.resolution is not None
    assert ours.resolution.first_steps(ours.steps_per_epoch) == ((0, 24), (75, 28), (150, None))
    assert ours.training_flops < 0.86 * RECIPES["94-muon"].training_flops
