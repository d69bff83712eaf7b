import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

from airjax.nn.build import init_variables
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.api import infer
from airjax.training.backend import backend_of
from airjax.training.checkpoint import Model, load, named_tensors, needed_tensors, save_model
from parity import reference
from parity.__main__ import main
from parity.convert import ConvertError, entries, export_model, import_model, to_state_dict, to_variables
from parity.states import arbitrary_state, cast
from parity.torch_network import build_network

STRUCTURES = {
    "94": {},
    "96": {"convs_per_block": 3, "residual": "before-activation"},
    "96-paper": {"convs_per_block": 3, "residual": "after-activation"},
    "without whitening": {"whiten": False},
    "without bias": {"whiten_bias": False},
    "first convolution trained, without bias": {"whiten": False, "whiten_bias": False},
}


def small(**changes: object) -> Recipe:
    return RECIPES["tiny"].override(widths=(5, 6, 7), precision="float32", **changes)


RESNET = RECIPES["resnet18"].override(widths=(4, 5, 6, 7), precision="float32")


def test_a_resnet_has_torchvision_s_names_and_goes_both_ways_unchanged() -> None:
    state = cast(arbitrary_state(RESNET, seed=0), "float32")
    build_network(RESNET).load_state_dict(state, strict=True)
    variables = to_variables(RESNET, state)
    fresh = {"frozen": {}} | jax.jit(lambda key: init_variables(RESNET, backend_of(RESNET), key))(jax.random.key(0))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), variables) == jax.tree.map(lambda a: (a.shape, a.dtype), fresh)
    back = to_state_dict(RESNET, variables)
    assert all(torch.equal(back[key], state[key]) for key in state if not key.endswith("num_batches_tracked"))
    assert set(back) == set(state)
    assert {"conv1.weight", "bn1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var", "fc.bias"} <= set(
        back
    )
    assert back["layer2.0.downsample.0.weight"].shape == (5, 4, 1, 1)
    with pytest.raises(ConvertError, match=r"layer1.0.bn1.weight missing"):
        to_variables(RESNET, {key: value for key, value in state.items() if key != "layer1.0.bn1.weight"})


def test_a_resnet_has_the_same_logits_in_both_frameworks() -> None:
    state = cast(arbitrary_state(RESNET, seed=0), "float32")
    network = build_network(RESNET)
    network.load_state_dict(state)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    theirs = reference.evaluate(network, pixels, RESNET.evaluation, torch.float32)
    ours = infer(Model(RESNET.override(test_examples=20), to_variables(RESNET, state)), pixels)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", STRUCTURES)
def test_round_trip_from_torch_is_exact_and_loads_strictly(name: str) -> None:
    recipe = small(**STRUCTURES[name])
    state = cast(arbitrary_state(recipe, seed=0), "float32")
    build_network(recipe).load_state_dict(state, strict=True)
    back = to_state_dict(recipe, to_variables(recipe, state))
    build_network(recipe).load_state_dict(back, strict=True)
    assert set(back) == set(state)
    for key, tensor in state.items():
        if not key.endswith("num_batches_tracked"):
            assert back[key].dtype == tensor.dtype
            assert torch.equal(back[key], tensor), key


@pytest.mark.parametrize("name", ["96", "first convolution trained, without bias"])
def test_round_trip_from_airjax_is_exact_with_the_same_tree(name: str) -> None:
    recipe = small(**STRUCTURES[name])
    variables = {"frozen": {}} | jax.jit(lambda key: init_variables(recipe, backend_of(recipe), key))(jax.random.key(0))
    back = to_variables(recipe, to_state_dict(recipe, variables))
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), back, variables)))


def test_every_tensor_of_the_network_has_an_entry() -> None:
    recipe = small(**STRUCTURES["96"])
    wanted = {name for name in build_network(recipe).state_dict() if not name.endswith("num_batches_tracked")}
    scales = {name for name in wanted if "norm" in name and name.endswith(".weight")}
    assert {entry.torch_key for entry in entries(recipe)} == wanted - scales


def test_half_precision_becomes_float32_without_loss() -> None:
    recipe = small()
    state = cast(arbitrary_state(recipe, seed=0), "float16")
    back = to_state_dict(recipe, to_variables(recipe, state))
    assert torch.equal(back["2.conv1.weight"], state["2.conv1.weight"].float())


def test_misfits_are_named() -> None:
    recipe = small()
    state = cast(arbitrary_state(recipe, seed=0), "float32")
    with pytest.raises(ConvertError, match="extra"):
        to_variables(recipe, {**state, "extra": torch.zeros(1)})
    with pytest.raises(ConvertError, match=r"7.weight missing"):
        to_variables(recipe, {key: value for key, value in state.items() if key != "7.weight"})
    with pytest.raises(ConvertError, match=r"2.norm1.num_batches_tracked missing"):
        to_variables(recipe, {key: value for key, value in state.items() if key != "2.norm1.num_batches_tracked"})
    with pytest.raises(ConvertError, match=r"2.conv1.weight \(5, 24, 3, 3\)"):
        to_variables(recipe.override(widths=(4, 6, 7)), state)
    with pytest.raises(ConvertError, match="no BatchNorm scale"):
        to_variables(recipe, {**state, "2.norm1.weight": state["2.norm1.weight"] * 2})
    variables = to_variables(recipe, state)
    variables["params"]["block1"]["conv9"] = variables["params"]["block1"]["conv1"]
    with pytest.raises(ConvertError, match="params/block1/conv9"):
        to_state_dict(recipe, variables)


def test_exported_and_imported_network_has_the_same_logits_in_both_frameworks(tmp_path: Path) -> None:
    recipe = small(test_examples=40)
    model, state, again = tmp_path / "model.safetensors", tmp_path / "state.pt", tmp_path / "again.safetensors"
    save_model(model, Model(recipe, to_variables(recipe, cast(arbitrary_state(recipe, seed=0), "float32"))))
    assert main(["export", str(model), str(state)]) == 0
    network = build_network(recipe)
    network.load_state_dict(torch.load(state), strict=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    theirs = reference.evaluate(network, pixels, recipe.evaluation, torch.float32)
    ours = infer(load(model), pixels)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert (ours.argmax(1) == theirs.argmax(1)).all()
    # The recipe on the command line has other widths, which is an error that names the tensor.
    assert main(["import", str(state), str(again), "--recipe", "94"]) == 2
    assert not again.exists()


def test_import_writes_a_model_that_loads(tmp_path: Path) -> None:
    recipe = RECIPES["tiny"].override(precision="float32")
    state, model = tmp_path / "state.pt", tmp_path / "model.safetensors"
    torch.save(cast(arbitrary_state(recipe, seed=0), "float16"), state)
    assert main(["import", str(state), str(model), "--recipe", "tiny"]) == 0
    assert load(model).recipe == recipe


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_batchnorm_in_half_precision_is_imported_as_airjax_has_it_and_exported_again(
    precision: Any, tmp_path: Path
) -> None:
    recipe = RECIPES["tiny"].override(precision=precision, batchnorm_half=True)
    file, model, again = tmp_path / "state.pt", tmp_path / "model.safetensors", tmp_path / "again.pt"
    state = cast(arbitrary_state(recipe, seed=0), "float32")
    torch.save(state, file)
    import_model(file, model, recipe)
    types = {name: leaf.dtype for name, leaf in named_tensors(load(model).variables).items()}
    assert types == {name: leaf.dtype for name, leaf in needed_tensors(recipe).items()}
    export_model(model, again)
    exported = torch.load(again)
    build_network(recipe).load_state_dict(exported, strict=True)
    half = getattr(torch, precision)
    assert torch.equal(exported["2.norm1.running_mean"], state["2.norm1.running_mean"].to(half))


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "missing.pt", "out.safetensors", "--recipe", "94"],
        ["import", "missing.pt", "out.safetensors", "--recipe", "93"],
        ["export", "missing.safetensors", "out.pt"],
        ["numerical", "--check", "nonsense"],
        ["numerical", "--recipe", "nonsense"],
    ],
)
def test_bad_usage_is_code_2_with_a_message(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def tiny_state() -> tuple[Recipe, dict[str, torch.Tensor]]:
    recipe = RECIPES["tiny"].override(precision="float32")
    return recipe, cast(arbitrary_state(recipe, seed=0), "float32")


def equal_trees(a: Any, b: Any) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)) and x.dtype == y.dtype, a, b))


@pytest.mark.parametrize("wrap", ["module.{}", "_orig_mod.{}", "_orig_mod.module.{}", "module.module.{}"])
def test_names_of_wrappers_are_left_out(wrap: str, tmp_path: Path) -> None:
    recipe, state = tiny_state()
    file, model = tmp_path / "state.pt", tmp_path / "model.safetensors"
    torch.save({wrap.format(key): value for key, value in state.items()}, file)
    assert main(["import", str(file), str(model), "--recipe", "tiny"]) == 0
    assert equal_trees(load(model).variables, to_variables(recipe, state))


def test_names_of_wrappers_inside_are_left_out_and_two_of_a_name_are_refused() -> None:
    recipe, state = tiny_state()
    inside = {key.replace("2.", "2._orig_mod.", 1) if key.startswith("2.") else key: v for key, v in state.items()}
    assert equal_trees(to_variables(recipe, inside), to_variables(recipe, state))
    with pytest.raises(ConvertError, match=r"7.weight is there twice, also as module.7.weight"):
        to_variables(recipe, {**state, "module.7.weight": state["7.weight"]})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_short_floating_point_becomes_float32_exactly(dtype: torch.dtype) -> None:
    recipe, state = tiny_state()
    short = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    exact = {key: value.float() if value.is_floating_point() else value for key, value in short.items()}
    assert equal_trees(to_variables(recipe, short), to_variables(recipe, exact))


HEAD = "7.weight"


@pytest.mark.filterwarnings("ignore::UserWarning")  # sparse and quantized tensors announce that they are to change
@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        (HEAD, lambda t: t.to_sparse(), r"7.weight has layout sparse_coo; save .*state\['7.weight'\].to_dense\(\)"),
        (HEAD, lambda t: t.to_sparse_csr(), "7.weight has layout sparse_csr"),
        (HEAD, lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), r"is quantized .*dequantize\(\)"),
        (HEAD, lambda t: t.to("meta"), "7.weight is on the meta device, without values; load the weights before"),
        (HEAD, lambda t: torch.nested.as_nested_tensor([t, t]), "7.weight is a nested tensor"),
        (HEAD, lambda t: t.to(torch.complex64), "7.weight has type torch.complex64, but weights are floating point"),
        (HEAD, lambda t: t.to(torch.int64), "7.weight has type torch.int64"),
        (HEAD, lambda t: t * torch.nan, "7.weight holds values that are not finite"),
        (HEAD, lambda t: t.double() * 1e300, r"7.weight holds values that are not finite .* as float32"),
        ("2.norm1.running_mean", lambda t: t + torch.inf, "2.norm1.running_mean holds values that are not finite"),
        ("2.norm1.running_var", lambda t: -t, r"2.norm1.running_var holds a negative variance"),
        ("2.norm1.weight", lambda t: t.to("meta"), "2.norm1.weight is on the meta device"),
        ("2.norm1.weight", lambda t: t * torch.nan, "2.norm1.weight is not 1 everywhere"),
    ],
)
def test_tensors_that_are_no_weights_are_named_with_the_remedy(
    key: str,
    change: Callable[[torch.Tensor], torch.Tensor],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, state = tiny_state()
    file, model = tmp_path / "state.pt", tmp_path / "model.safetensors"
    torch.save({**state, key: change(state[key])}, file)
    assert main(["import", str(file), str(model), "--recipe", "tiny"]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not model.exists()


def test_pickled_objects_and_checkpoints_are_told_what_to_save(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, state = tiny_state()
    file = tmp_path / "state.pt"
    for content, message in (
        (
            build_network(recipe),
            r"holds a pickled \S+, not only tensors, .* torch.save\(network.state_dict\(\), file\)",
        ),
        (
            {"epoch": 3, "state_dict": state},
            r"write its part 'state_dict' alone: torch.save\(checkpoint\['state_dict'\]",
        ),
        ({**state, "epoch": 3}, "is not a state_dict: its 'epoch' is a int, not a tensor"),
        (state["7.weight"], "is not a state_dict, but a Tensor"),
    ):
        torch.save(content, file)
        assert main(["import", str(file), str(tmp_path / "model.safetensors"), "--recipe", "tiny"]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_an_export_that_cannot_be_written_is_code_2_and_names_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, state = tiny_state()
    model = tmp_path / "model.safetensors"
    save_model(model, Model(recipe, to_variables(recipe, state)))
    assert main(["export", str(model), str(tmp_path / "none" / "state.pt")]) == 2
    assert capsys.readouterr().err == f"error: [Errno 2] No such folder: '{tmp_path / 'none'}'\n"
    if Path("/dev/full").exists():
        assert main(["export", str(model), "/dev/full"]) == 2
        assert capsys.readouterr().err == "error: [Errno 28] No space left on device: '/dev/full'\n"
    assert list(tmp_path.iterdir()) == [model]


def test_a_file_that_is_no_state_dict_is_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "state.pt"
    file.write_bytes(b"not a zip file")
    assert main(["import", str(file), str(tmp_path / "out.safetensors"), "--recipe", "94"]) == 2
    torch.save([1, 2], file)
    assert main(["import", str(file), str(tmp_path / "out.safetensors"), "--recipe", "94"]) == 2
    assert "not a state_dict" in capsys.readouterr().err
