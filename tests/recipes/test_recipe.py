import json
from pathlib import Path

import jax
import pytest

from airjax.cli.recipes import main
from airjax.nn.build import init_variables
from airjax.recipes.inputs import Inputs
from airjax.recipes.published import CLAIMS, RECIPES, get_recipe
from airjax.recipes.recipe import Phase, Recipe
from airjax.training.backend import backend_of

FILES = Path(__file__).parents[1] / "files" / "v0.1"


@pytest.mark.parametrize(
    ("name", "params", "steps"),
    [
        *(
            ("94", 1_971_640, 476),
            ("94-muon", 1_971_640, 200),
            ("94-hiverge", 1_971_640, 245),
            ("95", 4_604_728, 720),
            ("96", 9_915_704, 1776),
            ("96-faster", 9_915_704, 2160),
            ("96-paper", 12_717_752, 1920),
        ),
        *(("resnet18", 11_173_962, 78_000), ("resnet18-80", 11_173_962, 8000)),
    ],
)
def test_parameters_and_steps_are_those_of_the_method(name: str, params: int, steps: int) -> None:
    assert RECIPES[name].num_params == params
    assert RECIPES[name].total_steps == steps


def test_steps_are_counted_in_whole_numbers() -> None:
    # 50 x 1.1 is 55.00000000000001 in float64, and 25 x 0.28 is 7.000000000000001.
    for per_epoch, epochs, steps in ((50, 1.1, 55), (25, 0.28, 7), (50, 1.11, 56)):
        recipe = RECIPES["tiny"].override(train_examples=32 * per_epoch, batch_size=32, epochs=epochs)
        assert (recipe.steps_per_epoch, recipe.total_steps) == (per_epoch, steps)
    assert RECIPES["tiny"].override(epochs=1e-8).total_steps == 1


@pytest.mark.parametrize("name", RECIPES)
def test_counted_parameters_are_those_of_the_network(name: str) -> None:
    variables = jax.eval_shape(lambda: init_variables(RECIPES[name], backend_of(RECIPES[name]), jax.random.key(0)))
    leaves = jax.tree.leaves((variables["params"], variables.get("frozen")))
    assert sum(leaf.size for leaf in leaves) == RECIPES[name].num_params


@pytest.mark.parametrize(
    ("name", "millions"), [("94", 118.15), ("95", 301.56), ("96", 451.97), ("96-paper", 615.20), ("resnet18", 555.42)]
)
def test_multiply_accumulates_of_a_forward_pass(name: str, millions: float) -> None:
    assert RECIPES[name].forward_macs / 1e6 == pytest.approx(millions, abs=0.005)


def test_flops_of_94_are_within_one_percent_of_358_tera() -> None:
    assert RECIPES["94"].flops == pytest.approx(358e12, rel=0.01)


def test_flops_of_resnet18_80_are_the_13_35_peta_that_its_author_states() -> None:
    assert RECIPES["resnet18-80"].flops == pytest.approx(13.35e15, rel=0.001)


def test_flops_of_94_muon_are_within_three_percent_of_the_290_tera_that_its_author_states() -> None:
    assert RECIPES["94-muon"].flops == pytest.approx(290e12, rel=0.03)


def test_flops_of_96_faster_are_its_author_s_3_05_peta_and_0_11_of_the_proxy() -> None:
    recipe = RECIPES["96-faster"]
    assert recipe.step_examples == 512
    assert recipe.flops == pytest.approx(3.16e15, rel=0.005)
    assert recipe.selection is not None
    proxy = recipe.selection.network_for(recipe.network)
    assert proxy.forward_macs(Inputs()) / 1e6 == pytest.approx(17.09, abs=0.005)
    assert proxy.num_params(Inputs()) == 146_424 - 24  # published with a first bias that stays 0
    # Forward through all 1024 images of 2160 steps, and twice as much back in a quarter of them.
    assert recipe.selection.flops(recipe.network, Inputs(), 1024, 2160) == 2 * 17_085_088 * 1024 * (2160 + 2 * 540)
    assert 2160 * recipe.step_flops() + 2.0 * recipe.forward_macs * 60_000 == pytest.approx(recipe.flops, rel=1e-12)
    assert RECIPES["96"].step_flops() == 6 * RECIPES["96"].forward_macs * 1024


def test_every_recipe_makes_a_claim() -> None:
    assert list(CLAIMS) == list(RECIPES)
    for claim in CLAIMS.values():
        assert claim.summary
        assert claim.evidence


@pytest.mark.parametrize(
    ("name", "rate", "decay"),
    [("94", 0.00146484, 0.00199565), ("95", 0.00127378, 0.00199565), ("96-paper", 0.00114640, 0.00199565)],
)
def test_decoupled_hyperparameters_convert_as_in_the_method(name: str, rate: float, decay: float) -> None:
    recipe = RECIPES[name]
    assert recipe.sgd_learning_rate == pytest.approx(rate, rel=1e-5)
    assert recipe.sgd_weight_decay == pytest.approx(decay, rel=1e-5)
    assert RECIPES["96"].sgd_weight_decay == pytest.approx(0.00156522, rel=1e-5)


def test_bias_freezes_after_three_epochs_and_never_beyond_the_end() -> None:
    assert RECIPES["94"].freeze_step == 144
    assert RECIPES["94"].override(epochs=1.0).freeze_step == 48
    assert RECIPES["94-muon"].freeze_step == 75
    assert RECIPES["96-faster"].freeze_step == 2160  # never, as released
    assert RECIPES["96-faster"].override(whiten_bias_epochs=3.0).freeze_step == 144
    assert RECIPES["94-hiverge"].freeze_step == 7
    assert RECIPES["94"].override(whiten_bias_epochs=None).freeze_step == 476
    assert RECIPES["94"].override(whiten_bias=False).freeze_step == 476


def test_conv_shapes_follow_the_floor_pools() -> None:
    shapes = RECIPES["94"].network.conv_shapes(Inputs())
    assert [shape.size for shape in shapes] == [31, 15, 15, 7, 7, 3]
    assert len(RECIPES["96"].network.conv_shapes(Inputs())) == 9


def test_recipe_survives_json() -> None:
    for recipe in RECIPES.values():
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_unknown_and_missing_fields_are_named() -> None:
    values = RECIPES["94"].to_dict()
    with pytest.raises(ValueError, match="unknown recipe field warmth"):
        Recipe.from_dict(values | {"warmth": 1})
    with pytest.raises(ValueError, match="missing recipe field epochs"):
        Recipe.from_dict({name: value for name, value in values.items() if name != "epochs"})
    with pytest.raises(ValueError, match="missing recipe field dirac"):
        Recipe.from_dict(values | {"network": {n: v for n, v in values["network"].items() if n != "dirac"}})
    with pytest.raises(ValueError, match="network is of the kind 'resnet', but the kinds are airbench, whitening"):
        Recipe.from_dict(values | {"network": values["network"] | {"kind": "resnet"}})
    with pytest.raises(ValueError, match="network is Nesterov"):
        Recipe.from_dict(values | {"network": values["optimizer"]})
    with pytest.raises(ValueError, match="a recipe must be a table of its fields, but it is 94"):
        Recipe.from_dict(94)  # pyright: ignore[reportArgumentType]


def test_fields_from_json_are_checked_like_any_others() -> None:
    values = RECIPES["94"].to_dict()
    with pytest.raises(ValueError, match="dirac is 'false', but it must be true or false"):
        Recipe.from_dict(values | {"network": values["network"] | {"dirac": "false"}})


def test_the_flat_recipes_of_version_0_1_are_the_same_recipes() -> None:
    flat = json.loads((FILES / "train" / "recipe.json").read_text())["recipe"]
    assert Recipe.from_dict(flat) == RECIPES["tiny"].override(
        convs_per_block=3, residual="after-activation", lookahead=False, precision="float32"
    )
    # Of a part that is switched off, the other fields say nothing.
    without = flat | {"whiten": False, "whiten_examples": 7}
    assert Recipe.from_dict(without).network.whitening is None
    with pytest.raises(ValueError, match="missing recipe field whiten"):
        Recipe.from_dict({name: value for name, value in flat.items() if name != "whiten"})


def test_fields_are_set_by_their_own_names_whichever_part_they_are_in() -> None:
    recipe = RECIPES["94"].override(epochs=1, widths=[8, 8, 8], learning_rate=3, label_smoothing=0.1, flip="none")
    assert (recipe.epochs, recipe.network.widths, recipe.optimizer.learning_rate) == (1.0, (8, 8, 8), 3.0)
    assert (recipe.loss.label_smoothing, recipe.augmentation.flip) == (0.1, "none")
    assert all(recipe.value_of(name) == value for name, value in recipe.flat().items())
    assert RECIPES["96"].override(**RECIPES["94"].flat()) == RECIPES["94"]
    assert RECIPES["94"].override(network=RECIPES["96"].network).network == RECIPES["96"].network
    with pytest.raises(ValueError, match="unknown recipe field width; the fields are activation, antithetic"):
        RECIPES["94"].override(width=8)


def test_parts_are_left_out_and_put_in_by_their_switches() -> None:
    plain = RECIPES["mini"].override(whiten=False, lookahead=False)
    assert (plain.network.whitening, plain.averaging) == (None, None)
    assert (plain.value_of("whiten"), plain.value_of("lookahead_every")) == (False, None)
    with pytest.raises(ValueError, match="lookahead-every is set, but the recipe has no averaging"):
        plain.override(lookahead_every=3)
    with pytest.raises(ValueError, match="lookahead-every is set, but the recipe has no averaging"):
        plain.override(whiten=True, lookahead_every=3)  # another part's switch says nothing about this one
    again = plain.override(lookahead=True, lookahead_every=3)
    assert again.value_of("lookahead_every") == 3
    assert RECIPES["tiny"].override(whiten=True) == RECIPES["tiny"]


def test_numbers_that_a_program_takes_as_arguments_are_split_off() -> None:
    first, second = (RECIPES["94"].override(learning_rate=rate, momentum=0.5) for rate in (1.0, 2.0))
    assert first.split()[0] == second.split()[0] == RECIPES["94"]
    assert second.split()[1] == {
        "learning_rate": 2.0,
        "weight_decay": 0.0153,
        "momentum": 0.5,
        "label_smoothing": 0.2,
    }


def test_phases_are_cut_where_the_bias_freezes() -> None:
    assert RECIPES["94"].phases() == (Phase(0, 144), Phase(144, 476, ("whiten_bias",)))
    assert RECIPES["94"].override(whiten_bias_epochs=None).phases() == (Phase(0, 476),)
    assert RECIPES["94"].override(whiten_bias_epochs=0.0).phases() == (Phase(0, 476, ("whiten_bias",)),)


@pytest.mark.parametrize(
    ("inputs", "first", "sizes", "final"),
    [
        (Inputs(28, 1, 10, (0.5,), (0.25,)), 8, [27, 13, 13, 6, 6, 3], 3),
        (Inputs(64), 24, [63, 31, 31, 15, 15, 7], 7),
        (Inputs(9, 4, 2, (0.5,) * 4, (0.25,) * 4), 32, [8, 4, 4, 2, 2, 1], 1),
    ],
)
def test_a_network_follows_its_inputs(inputs: Inputs, first: int, sizes: list[int], final: int) -> None:
    recipe = RECIPES["94"].fit_to(50_000, 10_000, inputs)
    network = recipe.network
    assert (network.first_width(inputs), network.final_size(inputs)) == (first, final)
    assert [shape.size for shape in network.conv_shapes(inputs)] == sizes
    variables = jax.eval_shape(lambda: init_variables(recipe, backend_of(recipe), jax.random.key(0)))
    leaves = jax.tree.leaves((variables["params"], variables["frozen"]))
    assert sum(leaf.size for leaf in leaves) == recipe.num_params
    assert variables["params"]["head"].shape == (256, inputs.num_classes)


def test_what_the_network_cannot_take_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="have 8 pixels a side, but the network's three pools need at least 9"):
        RECIPES["94"].fit_to(100, 100, Inputs(8))
    with pytest.raises(ValueError, match="cutout is 12, but it must be at most the images' 10 pixels"):
        RECIPES["96"].fit_to(50_000, 100, Inputs(10))
    digits = RECIPES["94"].fit_to(50_000, 100, symmetric=False)
    assert (digits.augmentation.flip, digits.evaluation.tta_mirror) == ("none", False)


def test_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="unknown recipe '97'; the recipes are 94, 95, 96, 96-paper, mini, tiny"):
        get_recipe("97")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0, but it must be a number more than 0 and at most 10000 epochs"),
        ({"epochs": float("nan")}, "epochs is nan"),
        ({"batch_size": 0}, "batch-size is 0"),
        ({"batch_size": 64.0}, "batch-size is 64.0, but it must be a whole number from 2 to 50000 examples"),
        ({"train_examples": 1000}, "batch-size is 1024, but there are only 1000 training examples"),
        ({"widths": (64, 256)}, "widths is"),
        ({"widths": (64, 0, 256)}, "widths is"),
        ({"convs_per_block": 4}, "convs-per-block is 4, but it must be a whole number from 2 to 3"),
        ({"residual": "before-activation"}, "residual needs convs-per-block 3"),
        ({"batchnorm_momentum": 1.0}, "batchnorm-momentum is 1.0"),
        ({"learning_rate": -1.0}, "learning-rate is -1.0, but it must be a number more than 0"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"label_smoothing": 1.0}, "label-smoothing is 1.0"),
        ({"schedule_peak": 1.0}, "schedule-peak is 1.0"),
        ({"lookahead_every": 0}, "lookahead-every is 0"),
        ({"flip": "vertical"}, "flip is 'vertical'"),
        ({"order": "sorted"}, "order is 'sorted'"),
        (
            {"crop_sampling": "sobol"},
            "crop-sampling is 'sobol', but it must be one of random, without-replacement, joint",
        ),
        ({"cutout_sampling": "joint"}, "cutout-sampling is 'joint'"),
        ({"crop_sampling": "joint", "flip": "random"}, "crop-sampling is joint, but flip is random, .* alternating"),
        ({"translate": 16}, "translate is 16"),
        ({"cutout": 33}, "cutout is 33, but it must be at most the images' 32 pixels"),
        ({"tta_level": 3}, "tta-level is 3, but it must be a whole number from 0 to 2"),
        ({"tta_fraction": 0.0}, "tta-fraction is 0.0, but it must be a number more than 0 and at most 1"),
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"brightness": -0.1}, "brightness is -0.1, but it must be a number from 0 to 10"),
        ({"contrast": 1.0}, r"contrast is 1.0, but it must be a number in \[0, 1\)"),
        ({"precision": "float8"}, "precision is 'float8'"),
        ({"proxy": True, "proxy_keep": 1.5}, "proxy-keep is 1.5, but it must be a number more than 0 and at most 1"),
        ({"proxy": True, "proxy_every": 0}, "proxy-every is 0"),
        ({"proxy_keep": 0.25}, "proxy-keep is set, but the recipe has no selection"),
    ],
)
def test_out_of_range_field_is_named_with_its_range(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RECIPES["94"].override(**change)


def test_listing_as_json_has_the_promised_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["name"] for row in rows] == list(RECIPES)
    for row in rows:
        assert {"name", "epochs", "steps", "params", "flops", "expected_accuracy"} <= set(row)


def test_listing_as_a_table_and_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "1,971,640" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["--yaml"])
