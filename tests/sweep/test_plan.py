import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airjax.recipes.optimizer import Nesterov
from airjax.recipes.published import RECIPES
from airjax.sweep import plan as plan_module
from airjax.sweep.plan import PlanError, Subsets, load_plan, make_plan

ROOT = Path(__file__).parents[2]
FINGERPRINTS = {"cifar10": "aa", "builtin": "bb"}


def ids(content: dict[str, Any], version: str = "1") -> list[str]:
    return [run.id for run in make_plan(content).runs(FINGERPRINTS, version)]


def test_a_grid_is_every_combination() -> None:
    plan = make_plan(
        {
            "recipe": "mini",
            "seeds": 3,
            "data": ["cifar10", "builtin"],
            "set": {"epochs": 1.0},
            "grid": {"learning_rate": [8.0, 11.5], "flip": ["none", "random"]},
        }
    )
    assert plan.num_runs == 2 * 4 * 3
    assert len(plan.settings) == 8
    assert all(setting.recipe.epochs == 1.0 for setting in plan.settings)
    assert {(s.recipe.optimizer.learning_rate, s.recipe.augmentation.flip, s.data) for s in plan.settings} == {
        (rate, flip, data) for rate in (8.0, 11.5) for flip in ("none", "random") for data in FINGERPRINTS
    }
    runs = list(plan.runs(FINGERPRINTS, "1"))
    assert len({run.id for run in runs}) == plan.num_runs == len(runs)


def test_disk_is_the_records_and_the_arrays() -> None:
    content = {"recipe": "mini", "seeds": 10, "grid": {"epochs": [2.0, 3.5]}}
    assert make_plan(content).disk_bytes() == 20 * (400 + 2000 + 4 * 8)
    logits = make_plan(content | {"keep": {"logits": True}})
    assert logits.disk_bytes() == 20 * (400 + 2000 * 21 + 4 * 8)
    assert logits.disk_bytes({logits.settings[0].data: 100}) == 20 * (400 + 2000 * 201 + 4 * 8)


def test_cases_are_one_setting_each() -> None:
    plan = make_plan({"recipe": "mini", "seeds": [5, 9], "cases": [{"momentum": 0.5}, {"widths": [8, 8, 8]}]})
    assert [setting.recipe.optimizer.momentum for setting in plan.settings] == [0.5, RECIPES["mini"].optimizer.momentum]
    assert plan.settings[1].recipe.network.widths == (8, 8, 8)
    assert plan.seeds == (5, 9)


def test_without_either_the_recipe_is_the_setting() -> None:
    plan = make_plan({"recipe": "tiny", "seeds": 2})
    assert (len(plan.settings), plan.settings[0].changes, plan.subsets) == (1, {}, None)


def test_precision_is_that_of_the_platform_that_trains() -> None:
    content = {"recipe": "tiny", "seeds": 1, "grid": {"precision": ["auto", "float16"]}}
    for platform, expected in (("cpu", "float32"), ("gpu", "bfloat16")):
        settings = make_plan(content, platform).settings
        assert [setting.recipe.precision for setting in settings] == [expected, "float16"]


def test_ids_depend_on_all_that_determines_a_network_and_on_nothing_else() -> None:
    base = {"recipe": "tiny", "seeds": 3}
    assert ids(base) == ids(base | {"keep": {"logits": True}})
    assert ids(base) == ids(base | {"seeds": 5})[:3]
    assert ids(base) == ids({"recipe": "tiny", "seeds": 3, "set": {"epochs": 2.0}})  # as the recipe has it
    others = [
        ids(base, version="2"),
        ids(base | {"data": "builtin"}),
        ids(base | {"set": {"momentum": 0.5}}),
        ids(base | {"subsets": {"count": 1, "fraction": 0.5}}),
        ids(base | {"subsets": {"count": 1, "fraction": 0.5, "seed": 1}}),
    ]
    assert len({frozenset(ids(base)), *map(frozenset, others)}) == 6
    assert not set(ids(base)) & set().union(*others)


def test_ids_tell_kinds_of_parts_apart_and_name_those_of_the_first_version_as_ever() -> None:
    resnet = make_plan({"recipe": "resnet18", "seeds": 1}, "cpu").settings[0].recipe
    first = plan_module.identity_of(RECIPES["tiny"])
    new = {"network", "optimizer", "schedule", "padding", "cutout_form", "tta_mirror", "inputs"}
    new |= {"whiten_ascending", "whiten_bias_random", "unit_head", "activation", "batchnorm_half"}
    new |= {"brightness", "contrast", "tta_fraction", "tta_uniform", "crop_sampling", "cutout_sampling", "antithetic"}
    assert not new & set(first)
    identity = plan_module.identity_of(resnet)
    assert (identity["network"], identity["optimizer"], identity["schedule"]) == ("resnet18", "sgd", "piecewise")
    assert (identity["padding"], identity["cutout_form"]) == ("zero", "clipped")
    nesterov = resnet.override(optimizer=Nesterov(0.1, 5e-4, 0.9))
    assert plan_module.identity_of(nesterov) != identity


def test_a_plan_sets_the_fields_of_its_recipe_s_parts() -> None:
    content = {
        "recipe": "resnet18",
        "seeds": 1,
        "set": {"schedule_drops": [0.5]},
        "grid": {"learning_rate": [0.1, 0.2]},
    }
    settings = make_plan(content).settings
    assert [setting.recipe.optimizer.learning_rate for setting in settings] == [0.1, 0.2]
    assert settings[0].changes["schedule_drops"] == (0.5,)
    with pytest.raises(PlanError, match=r"dirac is set, but the recipe's network is resnet18, .* \(in dirac"):
        make_plan({"recipe": "resnet18", "seeds": 1, "set": {"dirac": False}})


def test_data_of_ones_own_is_a_path(tmp_path: Path) -> None:
    content = {"recipe": "tiny", "seeds": 1, "data": [str(tmp_path), "synthetic"], "image_size": 64, "validation": 9}
    with pytest.raises(PlanError, match="image_size is only for images of your own"):
        make_plan(content)
    plan = make_plan(content | {"data": str(tmp_path)})
    assert (plan.settings[0].data, plan.image_size, plan.validation) == (str(tmp_path), 64, 9)


def test_ids_are_what_they_always_were() -> None:
    # Of plans as earlier versions read them, in which nothing said where the test images came from.
    setting = make_plan({"recipe": "tiny", "seeds": 1}, "cpu").settings[0]
    parts = {"recipe": plan_module.identity_of(setting.recipe), "data": "aa", "subsets": None, "version": "1"}
    expected = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    assert ids({"recipe": "tiny", "seeds": 1}) == [f"{expected}-0"]
    assert ids({"recipe": "tiny", "seeds": 1, "validation": 9}) == [f"{expected}-0"], "the fingerprint tells them apart"


def test_more_subsets_leave_the_first_ones_what_they_are() -> None:
    few, many = ({"recipe": "tiny", "seeds": 1, "subsets": {"count": n, "fraction": 0.5}} for n in (2, 4))
    assert ids(many)[:2] == ids(few)


def test_subsets_are_drawn_without_replacement_and_differ() -> None:
    subsets = Subsets(3, 0.5, seed=1)
    drawn = [subsets.indices(number, 101) for number in range(3)]
    for indices in drawn:
        assert len(indices) == subsets.size(101) == 50
        assert len(np.unique(indices)) == 50
        assert indices.min() >= 0
        assert indices.max() < 101
    assert (drawn[0] != drawn[1]).any()
    np.testing.assert_array_equal(drawn[1], Subsets(9, 0.5, seed=1).indices(1, 101))


def test_a_subset_is_what_the_recipe_trains_on() -> None:
    plan = make_plan({"recipe": "mini", "seeds": 1, "subsets": {"count": 2, "fraction": 0.5}})
    assert (plan.settings[0].pool, plan.settings[0].recipe.train_examples) == (3000, 1500)
    assert plan.num_runs == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "names no recipe"),
        ({"recipe": "97", "seeds": 1}, "unknown recipe '97'"),
        ({"recipe": "tiny"}, "seeds is None"),
        ({"recipe": "tiny", "seeds": 0}, "seeds is 0"),
        ({"recipe": True, "seeds": 1}, 'recipe is True, but it must be a name in quotes, like recipe = "94"'),
        ({"recipe": 94.0, "seeds": 1}, 'recipe is 94.0, but it must be a name in quotes, like recipe = "94"'),
        ({"recipe": 97, "seeds": 1}, "unknown recipe '97'"),
        ({"recipe": "tiny", "seeds": 10**11}, "seeds is 100000000000, but it must be how many, from 1 to 4294967296"),
        ({"recipe": "tiny", "seeds": 2.0}, "seeds is 2.0"),
        ({"recipe": "tiny", "seeds": "3"}, "seeds is '3'"),
        ({"recipe": "tiny", "seeds": [1.0]}, "seed is 1.0, but it must be a whole number"),
        ({"recipe": "tiny", "seeds": [True]}, "seed is True, but it must be a whole number"),
        (
            {"recipe": "tiny", "seeds": [2**32]},
            "seed is 4294967296, but it must be a whole number from 0 to 4294967295",
        ),
        ({"recipe": "tiny", "seeds": 1, "set": 5}, "set is 5, but it must be a table: a line \\[set\\]"),
        ({"recipe": "tiny", "seeds": 1, "set": {"whiten": "false"}}, "whiten is 'false', but it must be true or false"),
        ({"recipe": "tiny", "seeds": 1, "set": {"whiten": 0}}, "whiten is 0, but it must be true or false"),
        ({"recipe": "tiny", "seeds": 1, "grid": {"lookahead": ["no"]}}, "lookahead is 'no'"),
        ({"recipe": "tiny", "seeds": 1, "cases": [{"dirac": "off"}]}, "dirac is 'off'"),
        (
            {"recipe": "tiny", "seeds": 1, "set": {"tta_level": True}},
            "tta-level is True, but it must be a whole number",
        ),
        ({"recipe": "tiny", "seeds": 1, "set": {"convs_per_block": 2.0}}, "convs-per-block is 2.0"),
        ({"recipe": "tiny", "seeds": 1, "grid": "x"}, "grid is 'x', but it must be a table"),
        ({"recipe": "tiny", "seeds": 1, "grid": [{"momentum": [0.5]}]}, "grid is .*, but it must be a table"),
        ({"recipe": "tiny", "seeds": 1, "cases": {"momentum": 0.5}}, "cases is .*, but it must be tables"),
        ({"recipe": "tiny", "seeds": 1, "cases": [5]}, "cases is .*, but it must be tables"),
        ({"recipe": "tiny", "seeds": 1, "subsets": 5}, "subsets is 5, but it must be a table"),
        ({"recipe": "tiny", "seeds": 1, "subsets": {"count": 1.0, "fraction": 0.5}}, "subsets.count is 1.0"),
        (
            {"recipe": "tiny", "seeds": 1, "subsets": {"count": 1, "fraction": True}},
            "subsets.fraction is True, but it must be a number more than 0 and at most 1",
        ),
        ({"recipe": "tiny", "seeds": 1, "subsets": {"count": 1, "fraction": 1.0, "seed": -1}}, "subsets.seed is -1"),
        ({"recipe": "tiny", "seeds": 1, "subsets": {"count": 1, "fraction": 1.0, "n": 1}}, "unknown entry subsets.n"),
        ({"recipe": "tiny", "seeds": 1, "keep": []}, "keep is .*, but it must be a table"),
        ({"recipe": "tiny", "seeds": 1, "keep": {"logits": "no"}}, "keep.logits is 'no', but it must be true or false"),
        ({"recipe": "tiny", "seeds": 1, "data": 5}, "data is 5"),
        ({"recipe": "tiny", "seeds": [1, 1]}, "same seed twice"),
        ({"recipe": "tiny", "seeds": [-1]}, "seed is -1, but it must be a whole number from 0 to 4294967295"),
        ({"recipe": "tiny", "seeds": True}, "seeds is True"),
        ({"recipe": "tiny", "seeds": 1, "data": "mnist"}, "data is 'mnist', but there is no data set of that name"),
        (
            {"recipe": "tiny", "seeds": 1, "data": "auto"},
            "data is 'auto', but it must be one or more of cifar10, cifar100, ",
        ),
        ({"recipe": "tiny", "seeds": 1, "data": "x" * 5000}, "cannot be read: File name too long"),
        ({"recipe": "tiny", "seeds": 1, "data": ["builtin", "synthetic"]}, "of which two are the same; remove one"),
        ({"recipe": "tiny", "seeds": 1, "validation": 0}, "validation is 0, but it must be a whole number from 1"),
        ({"recipe": "tiny", "seeds": 1, "validation": True}, "validation is True"),
        ({"recipe": "tiny", "seeds": 1, "image_size": 64}, "image_size is only for images of your own"),
        ({"recipe": "tiny", "seeds": 1, "rates": [1]}, "unknown entry rates"),
        ({"recipe": "tiny", "seeds": 1, "grid": {"rate": [1]}}, "unknown recipe field rate"),
        ({"recipe": "tiny", "seeds": 1, "grid": {"momentum": 0.5}}, "grid.momentum is 0.5"),
        ({"recipe": "tiny", "seeds": 1, "grid": {"momentum": [0.5, 1.5]}}, "momentum is 1.5.*momentum = 1.5"),
        ({"recipe": "tiny", "seeds": 1, "grid": {"momentum": [0.5, 0.5]}}, "two settings of the plan are the same"),
        ({"recipe": "tiny", "seeds": 1, "grid": {"test_examples": [50, 60]}}, "settings differ in test_examples"),
        ({"recipe": "tiny", "seeds": 1, "grid": {}, "cases": [{}]}, "either a grid or cases"),
        ({"recipe": "tiny", "seeds": 1, "cases": []}, "cases is .*, but it must be tables"),
        ({"recipe": "tiny", "seeds": 1, "subsets": {"count": 1}}, "missing entry subsets.fraction"),
        ({"recipe": "tiny", "seeds": 1, "subsets": {"count": 0, "fraction": 0.5}}, "subsets.count is 0"),
        ({"recipe": "tiny", "seeds": 1, "subsets": {"count": 1, "fraction": 0}}, "subsets.fraction is 0"),
        ({"recipe": "tiny", "seeds": 1, "subsets": {"count": 1, "fraction": 0.01}}, "batch-size is 32"),
        (
            {"recipe": "tiny", "seeds": 1, "keep": {"weights": True}},
            "unknown entry keep.weights; .keep. has logits, networks, plain_accuracy",
        ),
    ],
)
def test_bad_plans_are_named(content: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make_plan(content)


def test_a_plan_is_read_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('recipe = "mini"\nseeds = 2\n[set]\nwhiten_bias_epochs = "none"\n[grid]\nepochs = [1, 2.0]\n')
    plan = load_plan(file)
    assert [setting.recipe.epochs for setting in plan.settings] == [1, 2.0]
    assert plan.settings[0].recipe.network.whiten_bias_epochs is None
    assert plan.settings[0].changes == {"whiten_bias_epochs": None, "epochs": 1.0}
    file.write_text("recipe = ")
    with pytest.raises(PlanError, match="is not TOML"):
        load_plan(file)
    with pytest.raises(PlanError, match="cannot read the plan"):
        load_plan(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("mark", "encoding"), [(b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")]
)
def test_a_plan_may_begin_with_a_byte_order_mark(tmp_path: Path, mark: bytes, encoding: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_bytes(mark + "# größer\r\nrecipe = 94\r\nseeds = 2\r\n".encode(encoding))
    assert (load_plan(file).base, list(load_plan(file).seeds)) == ("94", [0, 1])


def test_text_in_another_encoding_is_refused_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_bytes('# größer\nrecipe = "94"\nseeds = 2\n'.encode("latin-1"))
    with pytest.raises(PlanError, match=r"is not text in UTF-8 .*; save it as UTF-8"):
        load_plan(file)


def test_as_many_seeds_as_there_are_cost_nothing() -> None:
    plan = make_plan({"recipe": "tiny", "seeds": 2**32, "subsets": {"count": 10**6, "fraction": 0.5}})
    assert plan.num_runs == 2**32 * 10**6
    assert next(plan.runs(FINGERPRINTS, "1")).seed == 0
    assert plan.disk_bytes() > 0


def test_ids_do_not_depend_on_how_a_number_is_written() -> None:
    written = ({"epochs": 2}, {"epochs": 2.0}, {"epochs": np.float64(2)}, {"train_examples": np.int64(256)})
    assert len({tuple(ids({"recipe": "tiny", "seeds": 1, "set": values})) for values in written}) == 1


def test_ids_are_those_of_the_first_version() -> None:
    # A folder written by it is gone on with.
    content = {"recipe": "tiny", "seeds": 1, "set": {"precision": "float32"}, "grid": {"learning_rate": [8.0, 11.5]}}
    assert ids(content) == ["51e5b231965d16cd-0", "e4bbd3d7e7bfc5e3-0"]


def test_the_documented_plan_is_that_of_the_docstring_and_trains_in_minutes() -> None:
    (documented,) = re.findall("```toml\n(.*?)```", (ROOT / "docs" / "sweeps.md").read_text(), re.DOTALL)
    described = (plan_module.__doc__ or "").partition("\n\n")[2]
    assert tomllib.loads(documented) == tomllib.loads(described)
    plan = make_plan(tomllib.loads(documented), "cpu")
    assert plan.num_runs == 80
    trained = sum(setting.recipe.flops for setting in plan.settings) * 20
    assert trained < 100 * RECIPES["mini"].flops  # mini takes seconds
