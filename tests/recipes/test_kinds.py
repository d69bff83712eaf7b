"""Parts of one kind or another: fields keep their own names, and each recipe has those of its parts."""

import json
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from airjax.recipes.inputs import Inputs
from airjax.recipes.network import AirbenchNet
from airjax.recipes.network_resnet import ResNet18
from airjax.recipes.optimizer import Nesterov, Piecewise, Sgd, Triangle
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.places import fields_of, iterate_parts
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Phase, Recipe
from airjax.recipes.selection import ProxySelection
from airjax.recipes.texts import describe_fields

RESNET = RECIPES["resnet18"]


def test_a_field_that_two_kinds_have_is_that_of_the_recipe_s_own() -> None:
    small = RESNET.override(widths=[8, 16, 32, 64], learning_rate=1, batchnorm_momentum=0.5)
    assert small.network == ResNet18((8, 16, 32, 64), batchnorm_momentum=0.5)
    assert small.optimizer == Sgd(1.0, 5e-4, 0.9)
    assert small.value_of("widths") == (8, 16, 32, 64)
    assert fields_of(small)["widths"].default == (64, 128, 256, 512)
    with pytest.raises(ValueError, match=r"widths is \(8, 8, 8\), but it must be a list of 4 numbers"):
        RESNET.override(widths=(8, 8, 8))


def test_a_recipe_has_the_fields_of_its_parts_and_no_others() -> None:
    ours, theirs = set(fields_of(RESNET)), set(fields_of(RECIPES["94"]))
    assert theirs - ours == {
        *("whiten", "whiten_examples", "whiten_epsilon", "whiten_bias", "whiten_bias_epochs", "dirac", "bias_scale"),
        *("whiten_ascending", "whiten_bias_random", "unit_head", "activation", "batchnorm_half", "final_pool"),
        *("convs_per_block", "residual", "logit_scale", "schedule_start", "schedule_peak", "schedule_end"),
    }
    assert ours - theirs == {"schedule_drops", "schedule_factor"}
    assert set(RESNET.flat()) == set(describe_fields(RESNET)) == ours
    assert all(describe_fields(RESNET).values())
    assert RESNET.value_of("whiten_examples") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"whiten": True},
            "whiten is set, but the recipe's network is resnet18, .* choose a recipe whose network is airbench",
        ),
        ({"dirac": False}, "dirac is set, but the recipe's network is resnet18, which has no such field; leave it out"),
        ({"bias_scale": 1.0}, "the recipe's optimizer is sgd, .* choose a recipe whose optimizer is nesterov"),
        ({"schedule_peak": 0.1}, "the recipe's schedule is piecewise, .* choose a recipe whose schedule is triangle"),
        ({"lookahead_every": 3}, "lookahead-every is set, but the recipe has no averaging"),
        ({"warmth": 3}, "unknown recipe field warmth; the fields are antithetic, batch_size"),
        ({"schedule_drops": (0.6, 0.3)}, "schedule-drops is .0.6, 0.3., but .* in ascending order"),
        ({"schedule_drops": (0.5, 1.0)}, "schedule-drops is"),
        ({"schedule_factor": 0.0}, "schedule-factor is 0.0"),
        ({"padding": "edge"}, "padding is 'edge', but it must be one of reflect, zero"),
        ({"cutout": 15}, "cutout is 15, but a clipped square has an even side"),
    ],
)
def test_a_field_of_another_kind_is_refused_with_the_remedy(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RESNET.override(**change)


def test_a_whole_part_is_replaced_by_another_kind_and_then_its_fields_are_known() -> None:
    mixed = RECIPES["94"].override(network=ResNet18(), schedule=Piecewise(), widths=(8, 8, 8, 8), schedule_drops=(0.5,))
    assert mixed.network == ResNet18((8, 8, 8, 8))
    assert mixed.schedule == Piecewise((0.5,))
    assert isinstance(mixed.optimizer, Nesterov)
    back = mixed.override(network=AirbenchNet(), schedule=Triangle())
    assert back == RECIPES["94"]
    with pytest.raises(ValueError, match="network is "):
        RECIPES["94"].override(network=Sgd())


def test_kinds_survive_json_under_their_names() -> None:
    written = json.loads(json.dumps(RESNET.to_dict()))
    kinds = {name: part["kind"] for name, part in written.items() if isinstance(part, dict)}
    assert (kinds["network"], kinds["optimizer"], kinds["schedule"]) == ("resnet18", "sgd", "piecewise")
    assert written["averaging"] is None
    assert Recipe.from_dict(written) == RESNET


def test_a_network_without_whitening_trains_everything_to_the_end() -> None:
    assert RESNET.phases() == (Phase(0, 78_000),)
    assert RESNET.network.examples_at_start == 0
    assert RECIPES["94"].network.examples_at_start == 5000
    assert RECIPES["94"].override(whiten=False).network.examples_at_start == 0


def test_the_numbers_of_either_optimizer_are_split_off() -> None:
    fast, slow = (RESNET.override(learning_rate=rate, label_smoothing=0.1) for rate in (1.0, 0.01))
    assert fast.split()[0] == slow.split()[0]
    assert slow.split()[1] == {"learning_rate": 0.01, "weight_decay": 5e-4, "momentum": 0.9, "label_smoothing": 0.1}


def test_muon_has_its_numbers_under_their_own_names() -> None:
    recipe = RECIPES["94-muon"]
    assert {name for name in fields_of(recipe) if name not in fields_of(RECIPES["94"])} == {
        *("bias_learning_rate", "head_learning_rate", "sgd_momentum", "newton_schulz_steps"),
        *("newton_schulz_coefficients", "newton_schulz_epsilon", "newton_schulz_precision"),
        *("renormalize_every", "renormalize_growth", "conv_weight_decay"),
    }
    changed = recipe.override(learning_rate=0.3, newton_schulz_coefficients=[3, -4, 2], sgd_momentum=0.5)
    assert changed.optimizer == Muon(0.3, newton_schulz_coefficients=(3.0, -4.0, 2.0), sgd_momentum=0.5)
    assert changed.split()[1] == {"learning_rate": 0.3, "weight_decay": 2e-6, "momentum": 0.6, "label_smoothing": 0.2}
    assert (recipe.sgd_learning_rate, recipe.sgd_weight_decay) == (0.24, pytest.approx(0.004))
    for change in ({"newton_schulz_steps": 0}, {"newton_schulz_precision": "float8"}, {"head_learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(change)).replace("_", "-")):
            recipe.override(**change)


def test_a_proxy_is_the_recipe_s_network_but_for_its_size_and_of_resnet18_one_of_airbench_s() -> None:
    recipe = RECIPES["96-faster"]
    assert recipe.selection == ProxySelection((32, 64, 64), 2, 0.5, 4, proxy_lookahead=False)
    assert ProxySelection().network_for(recipe.network) == AirbenchNet(
        (32, 64, 64), batchnorm_momentum=0.9, whiten_bias=False, whiten_bias_epochs=None
    )
    beside = ProxySelection((4, 4, 4)).network_for(RESNET.network)
    assert beside == AirbenchNet((4, 4, 4), batchnorm_momentum=0.9, whiten_bias=False)
    with pytest.raises(ValueError, match="have 8 pixels a side, but the network's three pools need at least 9"):
        RESNET.override(proxy=True, cutout=0).fit_to(50_000, 100, Inputs(8))
    assert RESNET.override(cutout=0).fit_to(50_000, 100, Inputs(8)).inputs.image_size == 8
    assert [ProxySelection(proxy_keep=keep).num_kept(50) for keep in (0.5, 0.25, 0.001, 1.0)] == [25, 12, 1, 50]


def test_a_proxy_is_put_in_and_left_out_by_its_switch() -> None:
    plain = RECIPES["96-faster"].override(proxy=False)
    assert plain.selection is None
    assert plain.value_of("proxy_keep") is None
    again = plain.override(proxy=True, proxy_keep=0.25, proxy_widths=[8, 8, 8])
    assert again.selection == ProxySelection((8, 8, 8), proxy_keep=0.25)
    assert again.step_examples == 256
    assert Recipe.from_dict(json.loads(json.dumps(again.to_dict()))) == again


@pytest.mark.parametrize(("size", "sizes"), [(32, [32, 16, 8, 4]), (28, [28, 14, 7, 4]), (9, [9, 5, 3, 2])])
def test_strides_round_up(size: int, sizes: list[int]) -> None:
    blocks = ResNet18().blocks(Inputs(size))
    assert [block.size for block in blocks] == [size for size in sizes for _ in range(2)]
    assert [block.stride for block in blocks] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert [block.projects for block in blocks] == [False, False, True, False, True, False, True, False]


def test_parameters_follow_the_data_set() -> None:
    hundred = RESNET.fit_to(50_000, 10_000, Inputs(num_classes=100))
    assert hundred.num_params == 11_173_962 + 90 * 513


@pytest.mark.parametrize("name", RECIPES)
def test_no_two_parts_of_a_recipe_have_a_field_of_one_name(name: str) -> None:
    recipe = RECIPES[name].override(lookahead=True, proxy=True, curriculum=True, tail=True, crops=True)
    parts = [part for _, part in iterate_parts(recipe) if not isinstance(part, Inputs)]
    inner = [getattr(part, one.name) for part in parts for one in fields(part)]
    nested = [value for value in inner if is_dataclass(value)]
    names = [
        one.name for part in (*parts, *nested) for one in fields(part) if not is_dataclass(getattr(part, one.name))
    ]
    assert len(names) == len(set(names))
    assert set(names) <= set(fields_of(recipe))
