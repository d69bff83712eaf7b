from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import airjax
from airjax.augment.transforms import normalize as airjax_normalize
from airjax.augment.views import sides_of, take_view, views_of
from airjax.data.builtin import load_builtin
from airjax.data.dataset import Dataset
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from parity import reference
from parity.torch_draws import sample_draws
from parity.torch_images import normalize, tta_views
from parity.torch_network import build_network, dtype_of, init_network, second_moment, whitening_filters
from parity.torch_optimizer import learning_rate_factor, lookahead_decay, make_optimizer


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_builtin(128, 40)


def short(**changes: Any) -> Recipe:
    base = RECIPES["tiny"].override(train_examples=128, test_examples=40, batch_size=32, epochs=1.5, widths=(6, 7, 8))
    return base.override(**{"precision": "float32", **changes})


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"convs_per_block": 3, "residual": "before-activation", "cutout": 12, "translate": 4},
        {"convs_per_block": 3, "residual": "after-activation"},
        {"whiten": False, "dirac": False, "bias_scale": 1.0, "flip": "random", "lookahead": False},
        {"whiten": False, "whiten_bias": False, "translate": 0, "flip": "none", "order": "fixed"},
        {"whiten_bias_epochs": 0.5, "order": "replacement", "flip": "alternating-hash", "momentum": 0.0},
        {"tta_level": 0, "label_smoothing": 0.0},
        {"tta_mirror": False},
        {"crop_sampling": "low-discrepancy", "order": "flip-flop"},
        {"antithetic": True},
        {"whiten_ascending": True, "whiten_bias_random": True, "unit_head": True},
        {"tta_level": 1, "batchnorm_momentum": 0.9},
        # Long enough for the proxy's average to choose other examples.
        {"proxy": True, "proxy_every": 2, "proxy_keep": 0.25, "proxy_lookahead": True}
        | {"lookahead_every": 2, "epochs": 6.0},
        {"activation": "silu", "brightness": 0.1, "contrast": 0.2, "tta_fraction": 0.3, "tta_uniform": True},
        {"precision": "float64"},
        {"precision": "float16"},
    ],
    ids=lambda changes: ", ".join(f"{key}={value}" for key, value in changes.items()),
)
def test_every_switch_trains_and_changes_the_numbers(changes: dict[str, Any], data: Dataset) -> None:
    recipe = short(**changes)
    trained = reference.train(recipe, data, seed=0)
    assert trained.losses.shape == (recipe.total_steps,)
    assert np.isfinite(trained.losses).all()
    assert trained.logits.shape == (40, 10)
    assert trained.logits.dtype == recipe.precision
    again = reference.train(recipe, data, seed=0)
    assert np.array_equal(again.logits, trained.logits)
    for name in changes:
        with_proxy = ("proxy_every", "proxy_keep", "proxy_lookahead")
        needing = {"convs_per_block": ("residual",), "proxy": with_proxy}.get(name, ())
        rest = {key: value for key, value in changes.items() if key not in (name, *needing)}
        other = reference.train(short(**rest), data, seed=0)
        assert not np.array_equal(other.logits, trained.logits) or not np.array_equal(other.losses, trained.losses), (
            name
        )


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("level", "uniform"), [(0, False), (1, False), (2, False), (2, True)])
def test_views_and_their_weights_are_those_of_airjax(level: int, *, uniform: bool, mirrored: bool) -> None:
    images = np.random.default_rng(0).standard_normal((2, 9, 9, 3)).astype(np.float32)
    theirs = tta_views(torch.as_tensor(images.transpose(0, 3, 1, 2)), level, uniform=uniform, mirrored=mirrored)
    ours = views_of(level, uniform=uniform, mirrored=mirrored)
    sides = sides_of(jnp.asarray(images), level, ours)
    for (weight, view), wanted in zip(theirs, ours, strict=True):
        assert weight == wanted.weight
        np.testing.assert_array_equal(view.permute(0, 2, 3, 1), take_view(*sides, wanted, level))


def test_every_size_of_an_evaluation_s_batches_is_compiled_before_the_clock(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def compiled(network: torch.nn.Module, mode: str) -> Any:
        def forward(images: torch.Tensor) -> torch.Tensor:
            if not network.training:
                seen.append(len(images))
            return network(images)

        forward.eval = network.eval
        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setitem(reference.EVAL_BATCH, "cpu", 12)
    # Of 40 images the last 4 are a batch, and of the 20 that are selected the last 8.
    for recipe, sizes in ((short(), {12, 4}), (short(tta_fraction=0.5), {12, 4, 8})):
        network = init_network(recipe, torch.Generator().manual_seed(0))
        forward = reference.forward_of(recipe, network, "cpu", "default")
        warmed = set(seen)
        seen.clear()
        reference.evaluate(forward, data.test_images, recipe.evaluation, torch.float32)
        assert warmed == set(seen) == sizes
        seen.clear()


def test_a_seed_determines_the_run_and_another_one_changes_it(data: Dataset) -> None:
    first, again, other = (reference.train(short(), data, seed=seed) for seed in (0, 0, 1))
    assert same(first.network, again.network)
    assert not same(first.network, other.network)


def test_precision_auto_is_float16_on_cuda_and_float32_elsewhere() -> None:
    assert dtype_of(short(precision="auto"), "cpu") == torch.float32
    assert dtype_of(short(precision="auto"), "cuda") == torch.float16
    assert dtype_of(short(precision="bfloat16"), "cuda") == torch.bfloat16


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_keeps_batchnorm_in_float32(precision: Any) -> None:
    network = build_network(short(precision=precision))
    half = getattr(torch, precision)
    types = {name: tensor.dtype for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    assert all(dtype == (torch.float32 if "norm" in name else half) for name, dtype in types.items())
    halved = build_network(short(precision=precision, batchnorm_half=True))
    assert {tensor.dtype for tensor in halved.state_dict().values() if tensor.is_floating_point()} == {half}


def test_bfloat16_trains_near_float32_in_itself_and_by_autocast(data: Dataset) -> None:
    plain = reference.train(short(precision="float32"), data, seed=0)
    pure = reference.train(short(precision="bfloat16"), data, seed=0)
    mixed = reference.train(short(precision="float32"), data, seed=0, autocast=True)
    weights = [next(run.network.parameters()).dtype for run in (plain, pure, mixed)]
    assert weights == [torch.float32, torch.bfloat16, torch.float32]
    for run in (pure, mixed):
        assert run.logits.dtype == np.float32
        distance = np.abs(run.losses[:3] - plain.losses[:3])
        assert 1e-5 < distance.max() < 0.02  # more than rounding of float32, less than another method


@pytest.mark.parametrize("name", ["94", "95", "96", "96-paper"])
def test_network_has_the_parameters_of_its_recipe(name: str) -> None:
    with torch.device("meta"):
        network = build_network(RECIPES[name], "meta")
    norms = sum(m.num_features for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert sum(p.numel() for p in network.parameters()) == RECIPES[name].num_params + norms


def test_groups_hold_every_trained_parameter_at_its_own_rate_and_the_same_decay() -> None:
    recipe = RECIPES["94"]
    norm, other = make_optimizer(recipe, build_network(recipe.override(widths=(6, 7, 8)))).param_groups
    assert len(norm["params"]) == 6
    assert len(other["params"]) == 6 + 1 + 1  # convolutions, the whitening bias, the head
    assert norm["lr"] == pytest.approx(0.09375, rel=1e-4)
    assert other["lr"] == pytest.approx(0.00146484, rel=1e-4)
    assert norm["lr"] * norm["weight_decay"] == pytest.approx(0.00199565, rel=1e-4)
    assert other["lr"] * other["weight_decay"] == pytest.approx(0.00199565, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "first", "second", "last", "total"),
    [
        ("94", 0.2, 0.207339, 0.072534, 261.81),
        ("95", 0.2, 0.204848, 0.071676, 395.99),
        ("96", 0.2, 0.204520, 0.000625, 905.80),
        ("96-paper", 0.2, 0.201814, 0.070629, 1055.93),
    ],
)
def test_schedule_has_the_published_values(name: str, first: float, second: float, last: float, total: float) -> None:
    factors = [learning_rate_factor(RECIPES[name], step) for step in range(RECIPES[name].total_steps)]
    assert (factors[0], factors[1], factors[-1]) == pytest.approx((first, second, last), abs=1e-6)
    assert sum(factors) == pytest.approx(total, abs=0.01)


def test_lookahead_decay_has_the_published_values() -> None:
    decays = [lookahead_decay(RECIPES["94"], steps) for steps in (115, 235, 475)]
    assert decays == pytest.approx([0.0109, 0.0931, 0.76891], abs=5e-5)


def test_whitening_makes_patches_uncorrelated_with_unit_moment(data: Dataset) -> None:
    images = normalize(torch.as_tensor(data.train_images), torch.float64)
    filters = whitening_filters(images, 5e-4)[:12].reshape(12, 12)
    moment = second_moment(images)
    values = torch.linalg.eigvalsh(moment).flip(0)
    torch.testing.assert_close(filters @ moment @ filters.T, torch.diag(values / (values + 5e-4)))


def test_filters_have_the_signs_of_airjax(pixels: tuple[str, np.ndarray, np.ndarray]) -> None:
    images = pixels[1][:1000]
    theirs = whitening_filters(normalize(torch.as_tensor(images), torch.float32), 5e-4).numpy()
    ours = np.asarray(
        airjax.whitening_filters(airjax_normalize(jnp.asarray(images), RECIPES["94"].inputs, jnp.float32), 5e-4)
    )
    np.testing.assert_allclose(ours.transpose(3, 2, 0, 1), theirs, rtol=0, atol=1e-2 * np.abs(theirs).max())


def test_dirac_network_starts_as_the_identity_in_its_first_filters() -> None:
    network = init_network(short(widths=(30, 30, 40)), torch.Generator().manual_seed(0))
    kernel = network.get_parameter("2.conv1.weight")
    assert torch.equal(kernel[:24, :, 1, 1], torch.eye(24))
    assert kernel[:24].sum() == 24
    assert kernel[24:].abs().max() <= (24 * 9) ** -0.5


def test_sampled_draws_obey_their_laws() -> None:
    recipe = short(train_examples=4000, translate=4, cutout=12, epochs=3.0)
    draws = sample_draws(recipe, torch.Generator().manual_seed(0))
    assert draws.shifts is not None
    assert draws.corners is not None
    assert (draws.shifts.amin().item(), draws.shifts.amax().item()) == (0, 8)
    assert (draws.corners.amin().item(), draws.corners.amax().item()) == (0, 20)
    assert abs(draws.flips.double().mean().item() - 0.5) < 4 * 0.5 / 4000**0.5
    assert draws.mirrors.any(1).tolist() == [False, True, False]
    assert all(torch.equal(order.sort().values, torch.arange(4000)) for order in draws.order)
    counts = torch.bincount(draws.shifts.flatten(), minlength=9).double() / draws.shifts.numel()
    assert (counts - 1 / 9).abs().max() < 4 * (1 / 9 / draws.shifts.numel()) ** 0.5


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("sampling", ["without-replacement", "joint", "low-discrepancy"])
def test_derandomised_draws_obey_their_laws(sampling: str, antithetic: bool) -> None:
    recipe = short(epochs=36.0, translate=1, crop_sampling=sampling, order="flip-flop", antithetic=antithetic)
    draws = sample_draws(recipe, torch.Generator().manual_seed(0))
    assert draws.shifts is not None
    crops = draws.shifts[..., 0] * 3 + draws.shifts[..., 1]
    views = 2 * crops + (draws.flips ^ draws.mirrors)
    halves = (crops[:18:2], crops[1:18:2]) if antithetic else (crops[:9], crops[9:18])
    for half in halves:  # of eighteen epochs, in each of which every crop comes once
        assert torch.equal(half.sort(0).values, torch.arange(9)[:, None].expand(9, 128))
    if antithetic:
        assert torch.equal(draws.shifts[1::2], 2 - draws.shifts[0::2])
    if antithetic or sampling == "joint":
        assert torch.equal(views[:18].sort(0).values, torch.arange(18)[:, None].expand(18, 128))
    assert torch.equal(draws.order[1::2], draws.order[0::2].flip(1))
    assert not torch.equal(draws.order[0], draws.order[2])
    counts = torch.bincount(crops[5], minlength=9)
    assert counts.max() < 128 / 9 + 5 * (128 / 9) ** 0.5


def test_network_ends_as_its_slow_copy_without_the_last_steps(data: Dataset) -> None:
    recipe = short(epochs=1.5)  # 6 steps: one sync after the fifth, and a sixth that is thrown away
    states: list[dict[str, torch.Tensor]] = []
    trained = reference.train(
        recipe, data, seed=0, on_step=lambda _, n: states.append({k: v.clone() for k, v in n.state_dict().items()})
    )
    final = trained.network.state_dict()
    assert torch.equal(final["7.weight"], states[4]["7.weight"])
    assert not torch.equal(states[5]["7.weight"], states[4]["7.weight"])
    assert torch.equal(final["2.norm1.running_var"], states[4]["2.norm1.running_var"])


def test_bias_does_not_move_once_frozen(data: Dataset) -> None:
    recipe = short(epochs=2.0, whiten_bias_epochs=1.0, lookahead=False)
    biases: list[torch.Tensor] = []
    reference.train(recipe, data, on_step=lambda _, network: biases.append(network.get_parameter("0.bias").clone()))
    assert not torch.equal(biases[0], biases[3])
    assert all(torch.equal(bias, biases[3]) for bias in biases[4:])
