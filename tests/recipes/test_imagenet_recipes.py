"""ImageNet's recipes: published numbers, resolution as phases, and what a recipe for a tree of images cannot have."""

import json
from typing import Any

import numpy as np
import pytest

from airjax.recipes.crops import Crops
from airjax.recipes.places import fields_of
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Phase, Recipe

SHORT = RECIPES["imagenet-resnet18-16"]
NAMES = ("imagenet-resnet18-16", "imagenet-resnet18-20", "imagenet-resnet18-88")


def ffcv_sizes(epochs: int, start: float, end: float) -> list[int]:
    """The resolution of every epoch as FFCV computes it."""
    return [int(np.round(np.interp(epoch, [start, end], [160, 192]) / 32)) * 32 for epoch in range(epochs)]


def test_resolution_is_ffcv_s_in_every_epoch_and_its_changes_are_phases() -> None:
    for name, start, end in zip(NAMES, (11, 13.75, 65), (13, 16.25, 76), strict=True):
        recipe = RECIPES[name]
        assert recipe.cropping is not None
        assert list(recipe.cropping.epoch_sizes(recipe.epochs)) == ffcv_sizes(int(recipe.epochs), start, end)
    assert SHORT.phases() == (Phase(0, 12 * 1251, (), 160), Phase(12 * 1251, 20_016, (), 192))
    assert RECIPES[NAMES[2]].phases()[0] == Phase(0, 71 * 1251, (), 160)


def test_a_ramp_goes_through_all_multiples_and_may_be_a_single_step() -> None:
    ramp = Crops(ramp_first=64, ramp_last=128, ramp_start=0.25, ramp_end=0.75)
    assert ramp.epoch_sizes(8) == (64, 64, 64, 64, 96, 128, 128, 128)  # 80 pixels are 2.5 times 32: the even multiple
    assert Crops(ramp_start=0.5, ramp_end=0.5).epoch_sizes(3.5) == (160, 160, 192, 192)
    assert Crops(ramp_first=128, ramp_last=128).epoch_sizes(2) == (128, 128)


def test_steps_parameters_and_rate_are_the_published_ones() -> None:
    assert [RECIPES[name].total_steps for name in NAMES] == [20_016, 25_020, 110_088]
    assert SHORT.num_params == 11_689_512
    assert (SHORT.sgd_learning_rate, SHORT.sgd_weight_decay) == (0.5, 5e-5)


def test_operations_of_tests_are_those_of_both_crops_with_mirrored_views() -> None:
    tests = 2 * 2 * 50_000 * (SHORT.macs_at(256) + SHORT.macs_at(192))
    assert SHORT.flops - SHORT.training_flops == pytest.approx(tests, rel=1e-9)


def test_recipes_survive_json_and_old_ones_have_no_crops() -> None:
    for name in NAMES:
        assert Recipe.from_dict(json.loads(json.dumps(RECIPES[name].to_dict()))) == RECIPES[name]
    old = RECIPES["94"].to_dict()
    assert old.pop("cropping") is None
    assert Recipe.from_dict(old) == RECIPES["94"]
    assert SHORT.override(crop="light-shift", ramp_first=96).value_of("ramp_first") == 96
    assert fields_of(RECIPES["94"])["crops"].default is False
    with pytest.raises(ValueError, match="crop is set, but the recipe has no cropping"):
        RECIPES["94"].override(crop="light")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crops": False}, "learns from a data set in memory, .* choose one with crops, such as imagenet-resnet18-16"),
        ({"flip": "alternating"}, "flip is alternating, whose start .* take alternating-hash"),
        ({"translate": 2}, "translate is 2, but images of a tree are only cropped and flipped: set it to 0"),
        ({"cutout": 12}, "cutout is 12, but .* set it to 0"),
        ({"drop_remainder": False}, "drop-remainder is False, but .* set it to True"),
        ({"tta_fraction": 0.5}, "tta-fraction and tta-uniform are not for images of a tree"),
        ({"curriculum": True, "curriculum_sizes": (96, 128)}, "curriculum is set, but not for images of a tree"),
        ({"proxy": True}, "proxy is set, but not for images of a tree"),
    ],
)
def test_what_is_not_done_to_images_of_a_tree_is_refused_with_the_remedy(change: dict[str, Any], message: str) -> None:
    SHORT.require_crops()
    with pytest.raises(ValueError, match=message):
        SHORT.override(**change).require_crops()


def test_a_bias_that_is_to_be_frozen_is_refused_where_nothing_freezes() -> None:
    plain = RECIPES["94"].override(crops=True, whiten=False, flip="random", translate=0, tta_level=1)
    for epochs in (3.0, 0.0):
        with pytest.raises(ValueError, match=r"whiten-bias-epochs is set, but not for images .*; set it to None"):
            plain.override(whiten_bias_epochs=epochs).require_crops()
    plain.override(whiten_bias_epochs=None).require_crops()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": "round"}, "crop is 'round', but it must be one of heavy, light, light-shift"),
        ({"ramp_first": 0}, "ramp-first is 0, but it must be a whole number from 1 to 512 pixels"),
        ({"ramp_start": 0.9}, "ramp-start is 0.9, but it must be at most ramp-end, 0.8125"),
        ({"ramp_multiple": 320}, "ramp-multiple is 320, but images of 160 pixels would round to none"),
        ({"test_sizes": (256,)}, "test-sizes has 1 sizes, but test-fractions 2: one for each"),
        ({"test_fractions": (0.875, 1.5)}, "test-fractions is .* above 0 and at most 1"),
    ],
)
def test_crops_name_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SHORT.override(**change)
