import importlib.util

import numpy as np
import pytest
import torch

from airjax.recipes.published import RECIPES
from parity import numerical, upstream
from parity.__main__ import main
from parity.convert import to_state_dict, to_variables
from parity.numerical import run_suite
from parity.states import arbitrary_state, cast
from parity.torch_implementation import TorchImplementation
from parity.upstream_cpu import INSTALL, on_cpu

Pixels = tuple[str, np.ndarray, np.ndarray]
INSTALLED = importlib.util.find_spec("airbench") is not None
needs_package = pytest.mark.skipif(not INSTALLED, reason=f"airbench is not installed: {INSTALL}")


@pytest.fixture(scope="module")
def reference() -> TorchImplementation:
    return upstream.make_implementation()


@needs_package
@pytest.mark.parametrize(
    ("checks", "recipes"),
    [
        (("normalize", "augmentation", "schedule", "whitening", "lookahead"), ("94", "95", "96-paper")),
        (("dirac", "initial-law"), ("94",)),
        (("intermediates", "loss", "gradients", "running-statistics"), ("94", "96-paper")),
        (("tta",), ("94",)),
        (("trajectory",), ("94", "96-paper")),
        pytest.param(("training",), ("94",), marks=[pytest.mark.slow, pytest.mark.nightly]),
    ],
    ids="-".join,
)
def test_check_holds_against_the_released_package(
    checks: tuple[str, ...], recipes: tuple[str, ...], reference: TorchImplementation, pixels: Pixels
) -> None:
    # float32 where the check is measured against it anyway; the command line runs both everywhere.
    precisions = ("float64", "float32") if "whitening" in checks or "dirac" in checks else ("float64",)
    result = run_suite(reference, pixels, checks=checks, recipes=recipes, precisions=precisions)
    print("", *map(numerical.format_row, result.rows), sep="\n")
    assert {row.check for row in result.rows} == set(checks)
    assert [row for row in result.rows if not row.passed] == []


@needs_package
def test_drift_against_the_package_is_measured_in_its_rounding(reference: TorchImplementation, builtin: Pixels) -> None:
    result = run_suite(reference, builtin, checks=("drift",), recipes=("94",), precisions=("float32",))
    assert result.passed, result.rows
    assert max(comparison.allowed for comparison in result.comparisons) < 1e-3


@needs_package
def test_torch_is_itself_again_afterwards() -> None:
    before = (torch.Tensor.half, torch.Tensor.float, torch.nn.Module.half, torch.nn.Module.cuda)
    with on_cpu(torch.float64):
        assert torch.get_default_dtype() == torch.float64
        assert torch.zeros(1).half().dtype == torch.float64
    assert before == (torch.Tensor.half, torch.Tensor.float, torch.nn.Module.half, torch.nn.Module.cuda)
    assert torch.get_default_dtype() == torch.float32
    assert torch.zeros(1).half().dtype == torch.float16


@needs_package
def test_released_recipe_of_96_is_not_in_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["numerical", "--against", "upstream", "--recipe", "96"]) == 2
    assert "has no recipe 96; it has 94, 95, 96-paper" in capsys.readouterr().err


def test_a_missing_package_is_code_2_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["numerical", "--against", "upstream"]) == 2
    assert INSTALL in capsys.readouterr().err


@needs_package
@pytest.mark.parametrize("name", ["94", "95", "96-paper"])
def test_exported_network_loads_strictly_into_the_package(name: str) -> None:
    recipe = RECIPES[name].override(precision="float32")
    state = cast(arbitrary_state(recipe, seed=0), "float32")
    network = upstream.build(recipe)
    network.load_state_dict(to_state_dict(recipe, to_variables(recipe, state)), strict=True)
    assert torch.equal(network.get_parameter("4.conv2.weight"), state["4.conv2.weight"])
    assert set(network.state_dict()) == set(to_state_dict(recipe, to_variables(recipe, network.state_dict())))
