"""A harness that never fails proves nothing: each known mistake, planted in airjax, turns exactly its checks red."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from airjax.augment import area, batch, crop_boxes, draws, positions, resize, transforms, views
from airjax.augment.views import views_of
from airjax.kernels import backend
from airjax.kernels.normalization import normalize_channels
from airjax.nn import airbench as model
from airjax.nn import resnet
from airjax.nn import whitening as whiten
from airjax.optim import build as optimizer
from airjax.optim import groups, heavy_ball, lookahead, momentum, muon, schedule, sgd
from airjax.optim.lookahead import LookaheadState, lookahead_update
from airjax.optim.schedule import learning_rate_factor
from airjax.recipes.crops import Crops
from airjax.recipes.curriculum import Curriculum
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.published import RECIPES
from airjax.training import evaluate as tta
from airjax.training import selection, selective, step, stream_step
from airjax.training.selective import least_confident
from parity import checks_selection
from parity.check_setup import CheckSetup, narrow
from parity.checks_initialisation import check_initialisation
from parity.numerical import run_suite
from parity.torch_implementation import OWN

PASS = ("intermediates", "loss", "gradients", "running-statistics")
UPDATES = ("schedule", "optimizer", "freeze", "lookahead")
PIXELS = ("normalize", "augmentation", "tta")
DRAWN = ("normalize", "augmentation", "draws")
BEGINNING = ("whitening", "dirac", "initial-law")


def plant(monkeypatch: pytest.MonkeyPatch, **wrong: Any) -> None:
    right = backend.make_ops
    monkeypatch.setattr(backend, "make_ops", lambda *arguments: right(*arguments)._replace(**wrong))


def gelu_by_tanh(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, gelu=lambda x: jax.nn.gelu(x, approximate=True))


def swapped_batchnorm_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    def norm(self: Any, number: int) -> nn.Module:
        kept, epsilon = 1 - self.network.batchnorm_momentum, self.network.batchnorm_epsilon
        return model.BatchNorm(kept, epsilon, self.precision.statistics, self.ops, name=f"norm{number}")

    monkeypatch.setattr(model.Block, "norm", norm)


def biased_running_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    class Biased(model.BatchNorm):
        @nn.compact
        def __call__(self, x: Any, train: bool) -> Any:
            assert train
            features = x.shape[-1]
            bias = self.param("bias", nn.initializers.zeros, (features,), self.dtype)
            mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), self.dtype)
            variance = self.variable("batch_stats", "var", jnp.ones, (features,), self.dtype)
            batch_mean, batch_variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            variance.value = self.momentum * variance.value + (1 - self.momentum) * batch_variance
            return normalize_channels(x, batch_mean, batch_variance, bias, self.epsilon)

    monkeypatch.setattr(model, "BatchNorm", Biased)


def fast_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    def moments(x: Any, reductions: Any) -> Any:
        del reductions
        mean = x.mean((0, 1, 2))
        return mean, (x * x).mean((0, 1, 2)) - mean * mean

    right = backend.make_ops
    monkeypatch.setattr(backend, "make_ops", lambda *arguments: right(*arguments, moments=moments))


def decay_after_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_optimizer(recipe: Any, precision: Any, hyper: Any, frozen: tuple[str, ...] = ()) -> Any:
        del precision

        def group(rate: Any) -> Any:
            return optax.chain(
                optax.identity(),
                optax.trace(hyper.momentum, nesterov=True),
                optax.add_decayed_weights(hyper.weight_decay / rate),
                optax.scale_by_learning_rate(lambda count: rate * learning_rate_factor(recipe, jnp.asarray(count))),
            )

        other = group(hyper.learning_rate)
        chains = {"other": other, "norm_bias": group(hyper.learning_rate * recipe.optimizer.bias_scale)}
        chains["whiten_bias"] = groups.freeze(other) if "whiten_bias" in frozen else other
        return optax.partition(chains, groups.label_params)

    monkeypatch.setattr(optimizer, "make_optimizer", make_optimizer)


def mean_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    summed = step.smoothed_loss
    monkeypatch.setattr(step, "smoothed_loss", lambda logits, *rest: summed(logits, *rest) / logits.shape[0])


def lookahead_without_running_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    def params_only(fast: Any, state: Any, decay: Any, sync: Any) -> Any:
        params, slow = lookahead_update(fast[0], LookaheadState(state.slow[0]), decay, sync)
        return (params, fast[1]), LookaheadState((slow.slow, fast[1]))

    monkeypatch.setattr(step, "lookahead_update", params_only)


def freeze_by_zero_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def freeze(inner: Any) -> Any:
        def update(updates: Any, state: Any, params: Any = None) -> Any:
            return inner.update(jax.tree.map(jnp.zeros_like, updates), state, params)

        return optax.GradientTransformation(inner.init, update)

    monkeypatch.setattr(groups, "freeze", freeze)


def symmetric_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    def pad(x: Any, pixels: int) -> Any:
        return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="symmetric")

    def symmetric(places: Any, size: int) -> Any:
        places = jnp.where(places < 0, -1 - places, places)
        return jnp.minimum(places, 2 * size - 1 - places)

    monkeypatch.setattr(views, "reflect_pad", pad)
    monkeypatch.setattr(transforms, "reflect", symmetric)


def flip_upside_down(monkeypatch: pytest.MonkeyPatch) -> None:
    right = transforms.pixel_origins

    def origins(size: int, translate: int, flips: Any, mirrors: Any, shifts: Any, padding: Any) -> Any:
        rows, cols = right(size, translate, jnp.zeros_like(flips), jnp.zeros_like(mirrors), shifts, padding)
        return jnp.where((flips ^ mirrors)[:, None], rows[:, ::-1], rows), cols

    monkeypatch.setattr(transforms, "pixel_origins", origins)
    monkeypatch.setattr(transforms, "mirror", lambda x: jnp.flip(x, axis=1))
    monkeypatch.setattr(views, "mirror", lambda x: jnp.flip(x, axis=1))


def uniform_tta(monkeypatch: pytest.MonkeyPatch) -> None:
    def same_weights(level: int, *, mirrored: bool, uniform: bool = False) -> Any:
        del uniform
        return views_of(level, mirrored=mirrored, uniform=True)

    monkeypatch.setattr(tta, "views_of", same_weights)


def schedule_one_step_early(monkeypatch: pytest.MonkeyPatch) -> None:
    early = lambda recipe, number, *steps: learning_rate_factor(recipe, number + 1, *steps)  # noqa: E731
    for module in (momentum, muon, schedule):
        monkeypatch.setattr(module, "learning_rate_factor", early)


def shortcut_without_its_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    right = resnet.make_norm

    def make_norm(network: Any, backend: Any, name: str) -> Any:
        norm = right(network, backend, name)
        return (lambda x, train: x + 0 * norm(x, train)) if name == "norm_shortcut" else norm

    monkeypatch.setattr(resnet, "make_norm", make_norm)


def no_decay_of_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    right = optimizer.make_chain

    def make_chain(recipe: Any, precision: Any, hyper: Any, group: str) -> Any:
        if group.startswith("norm_"):
            hyper = hyper._replace(weight_decay=0 * hyper.weight_decay)
        return right(recipe, precision, hyper, group)

    monkeypatch.setattr(optimizer, "make_chain", make_chain)


def gradient_of_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sgd.optax, "scale", lambda factor: optax.identity())


def padding_by_normalised_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mean colour instead of black.
    right = transforms.take_moved

    def moved(images: Any, *arguments: Any) -> Any:
        grey = jnp.full_like(images, 1)
        return right(images, *arguments) + jnp.where(right(grey, *arguments) == 0, 123, 0).astype(images.dtype)

    monkeypatch.setattr(transforms, "take_moved", moved)


def cutout_that_is_not_centred(monkeypatch: pytest.MonkeyPatch) -> None:
    right = transforms.cutout
    monkeypatch.setattr(transforms, "cutout", lambda images, corners, size: right(images, corners, size - 1))


def wrong_newton_schulz_coefficient(monkeypatch: pytest.MonkeyPatch) -> None:
    right = muon.newton_schulz

    def newton_schulz(matrix: Any, optimizer: Any, dtype: Any) -> Any:
        wrong = dataclasses.replace(optimizer, newton_schulz_coefficients=(3.4445, -4.7750, 2.0316))
        return right(matrix, wrong, dtype)

    monkeypatch.setattr(muon, "newton_schulz", newton_schulz)


def no_renormalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "renormalized", lambda kernel: kernel)


def first_bias_on_the_schedule_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(momentum, "learning_rate_factor", lambda recipe, step, *_: learning_rate_factor(recipe, step))


def easiest_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "hardest", lambda losses, count: selection.hardest(-losses, count))


def proxy_that_learns_from_all_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "mark", lambda losses, chosen: jnp.ones_like(losses))


def proxy_that_learns_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    right = step.select_examples
    monkeypatch.setattr(
        step, "select_examples", lambda recipe, *rest, **named: right(recipe.override(proxy_every=1), *rest, **named)
    )


def proxy_with_lookahead(monkeypatch: pytest.MonkeyPatch) -> None:
    right = selection.proxy_recipe
    for module in (step, checks_selection):
        monkeypatch.setattr(module, "proxy_recipe", lambda recipe: right(recipe.override(proxy_lookahead=True)))


def proxy_on_a_schedule_of_its_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "at_step", lambda opt_state, number: opt_state)


def remainder_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    right = batch.examples_at
    monkeypatch.setattr(batch, "examples_at", lambda recipe, *rest: right(recipe.override(drop_remainder=True), *rest))


def gelu_for_silu(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, silu=lambda x: jax.nn.gelu(x, approximate=False))


def contrast_before_brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    def jitter(images: Any, changes: Any) -> Any:
        return images * changes[:, 1, None, None, None] + changes[:, 0, None, None, None]

    monkeypatch.setattr(transforms, "jitter", jitter)


def rescaling_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Muon, "renormalizes", lambda self, num_steps: (True,) * num_steps)


def rescaling_a_step_late(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Muon.renormalizes
    monkeypatch.setattr(Muon, "renormalizes", lambda self, num_steps: (False, *right(self, num_steps)[:-1]))


def no_decay_of_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "decay_afterwards", lambda precision, fraction: optax.identity())


def views_for_the_most_confident(monkeypatch: pytest.MonkeyPatch) -> None:
    most = lambda logits, count: least_confident(logits, len(logits))[-count:]  # noqa: E731
    monkeypatch.setattr(selective, "least_confident", most)


def views_weighted_by_how_far_they_are_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(level: int, *, mirrored: bool, uniform: bool = False) -> Any:
        del uniform
        return views_of(level, mirrored=mirrored)

    monkeypatch.setattr(tta, "views_of", moved)


def no_antialiasing(monkeypatch: pytest.MonkeyPatch) -> None:
    right = resize.interpolation_weights
    monkeypatch.setattr(resize, "interpolation_weights", lambda length, size, antialias: right(length, size))


def aligned_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(length: int, size: int, *, antialias: bool) -> np.ndarray:
        centres = np.linspace(0, length - 1, size)
        width = length / size if antialias else 1.0
        found = np.maximum(0, 1 - np.abs(np.arange(length) - centres[:, None]) / width)
        return found / found.sum(1, keepdims=True)

    monkeypatch.setattr(resize, "interpolation_weights", weights)


def maximum_in_place_of_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    right = model.Airbench.pool_all

    def pool_all(self: Any, x: Any) -> Any:
        return x.max((1, 2)) if self.network.final_pool == "mean" else right(self, x)

    monkeypatch.setattr(model.Airbench, "pool_all", pool_all)


def sizes_change_a_step_late(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Curriculum.first_steps

    def first_steps(self: Curriculum, steps_per_epoch: int) -> Any:
        (first, *others) = right(self, steps_per_epoch)
        return first, *((step + 1, size) for step, size in others)

    monkeypatch.setattr(Curriculum, "first_steps", first_steps)


def tail_begins_a_step_late(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lookahead.tail_update
    monkeypatch.setattr(lookahead, "tail_update", lambda recipe, fast, slow, done: right(recipe, fast, slow, done - 1))


def rate_falls_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def factor(recipe: Any, number: Any, *steps: int) -> Any:
        floorless = dataclasses.replace(recipe, ending=dataclasses.replace(recipe.ending, tail_floor=0.0))
        return learning_rate_factor(floorless, number, *steps)

    for module in (momentum, muon, schedule):
        monkeypatch.setattr(module, "learning_rate_factor", factor)


def shifts_that_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "without_replacement", lambda digits: digits)


def a_new_sequence_for_the_other_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "num_walks", lambda recipe: 1)


def cells_in_reading_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_order(side: int, count: int) -> np.ndarray:
        return np.stack(np.divmod(np.arange(count, dtype=np.int32), np.int32(side)), axis=1)

    monkeypatch.setattr(draws, "low_discrepancy", in_order)


def opposite_in_the_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def antithetic(places: Any, largest: int) -> Any:
        return positions.antithetic(places, largest).at[1::2, :, 1].set(places[..., 1])

    monkeypatch.setattr(draws, "antithetic", antithetic)


def an_order_twice_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "flip_flop", lambda orders: jnp.repeat(orders, 2, axis=0))


def no_decay_in_shortcuts(monkeypatch: pytest.MonkeyPatch) -> None:
    right = groups.label_decaying

    def label(params: Any) -> Any:
        return jax.tree.map(lambda name: "norm_fixed" if name.startswith("norm_") else name, right(params))

    monkeypatch.setattr(groups, "label_decaying", label)


def nesterov_s_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(*arguments: Any, nesterov: bool) -> Any:
        del nesterov
        return momentum.momentum_steps(*arguments)

    monkeypatch.setattr(heavy_ball, "momentum_steps", steps)


def mirror_bits_of_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    right = transforms.mirror_where
    monkeypatch.setattr(stream_step, "mirror_where", lambda images, mirrors: right(images, ~mirrors))


def areas_and_shapes_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    right = crop_boxes.heavy_boxes
    monkeypatch.setattr(crop_boxes, "heavy_boxes", lambda sizes, uniforms: right(sizes, uniforms[..., [1, 0, 2, 3]]))


def pixels_in_place_of_areas(monkeypatch: pytest.MonkeyPatch) -> None:
    right = area._weights

    def nearest(starts: Any, lengths: Any, shrinks: Any, size: int, total: int) -> Any:
        weights = right(starts, lengths, shrinks, size, total)
        return jax.nn.one_hot(weights.argmax(-1), total, dtype=weights.dtype)

    monkeypatch.setattr(area, "_weights", nearest)


def sizes_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def size_at(self: Crops, epoch: int, epochs: float) -> int:
        grown = np.interp(epoch, [self.ramp_start * epochs, self.ramp_end * epochs], [self.ramp_first, self.ramp_last])
        return int(np.ceil(grown / self.ramp_multiple)) * self.ramp_multiple

    monkeypatch.setattr(Crops, "size_at", size_at)


def descending_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    right = whiten.whitening_filters
    monkeypatch.setattr(whiten, "whitening_filters", lambda images, epsilon, ascending: right(images, epsilon))


def second_half_without_the_minus(monkeypatch: pytest.MonkeyPatch) -> None:
    right = whiten.whitening_filters

    def filters(*arguments: Any, **named: Any) -> Any:
        first, _ = jnp.split(right(*arguments, **named), 2, axis=-1)
        return jnp.concatenate([first, first], axis=-1)

    monkeypatch.setattr(whiten, "whitening_filters", filters)


def head_of_a_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "unit_uniform", model.default_uniform)


def first_bias_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "bias_uniform", lambda fan_in: nn.initializers.zeros)


class Control(NamedTuple):
    """A mistake, the checks that it is run through, and which of them it must turn red."""

    plant: Callable[[pytest.MonkeyPatch], None]
    watched: tuple[str, ...]
    red: tuple[str, ...]


CONTROLS = (
    Control(gelu_by_tanh, ("layers", *PASS, *UPDATES), ("layers", *PASS)),
    Control(swapped_batchnorm_momentum, PASS, ("running-statistics",)),
    Control(biased_running_variance, PASS, ("running-statistics",)),
    Control(fast_variance, ("cancellation", *PASS), ("cancellation",)),
    Control(decay_after_momentum, UPDATES, ("optimizer",)),
    Control(mean_loss, PASS, ("loss", "gradients")),
    Control(lookahead_without_running_statistics, UPDATES, ("lookahead",)),
    Control(freeze_by_zero_gradient, UPDATES, ("optimizer", "freeze")),
    Control(symmetric_padding, PIXELS, ("augmentation", "tta")),
    Control(flip_upside_down, PIXELS, ("augmentation", "tta")),
    Control(uniform_tta, PIXELS, ("tta",)),
    Control(schedule_one_step_early, UPDATES, ("schedule", "optimizer")),
    Control(shifts_that_come_again, DRAWN, ("draws",)),
    Control(a_new_sequence_for_the_other_way_round, DRAWN, ("draws",)),
    Control(cells_in_reading_order, DRAWN, ("draws",)),
    Control(opposite_in_the_rows_alone, DRAWN, ("draws",)),
    Control(an_order_twice_forwards, DRAWN, ("draws",)),
    Control(second_half_without_the_minus, ("normalize", "whitening"), ("whitening",)),
)


RESNET_CONTROLS = (
    Control(shortcut_without_its_norm, PASS, PASS),
    Control(no_decay_of_norms, ("schedule", "optimizer"), ("optimizer",)),
    Control(gradient_of_the_sum, ("schedule", "optimizer"), ("optimizer",)),
    Control(schedule_one_step_early, ("schedule", "optimizer"), ("schedule", "optimizer")),
    Control(padding_by_normalised_zeros, ("normalize", "augmentation"), ("augmentation",)),
    Control(cutout_that_is_not_centred, ("normalize", "augmentation"), ("augmentation",)),
)


MUON_CONTROLS = (
    Control(wrong_newton_schulz_coefficient, ("schedule", "optimizer", "freeze"), ("optimizer",)),
    Control(no_renormalisation, ("schedule", "optimizer", "freeze"), ("optimizer",)),
    Control(first_bias_on_the_schedule_of_all, ("schedule", "optimizer", "freeze"), ("optimizer",)),
    Control(schedule_one_step_early, ("schedule", "optimizer", "freeze"), ("schedule", "optimizer")),
    Control(descending_filters, BEGINNING, ("whitening",)),
    Control(head_of_a_linear_layer, BEGINNING, ("initial-law",)),
    Control(first_bias_of_nothing, BEGINNING, ("initial-law",)),
)


SELECTION = ("batches", "selection", "proxy")
FASTER_CONTROLS = (
    Control(easiest_examples, SELECTION, ("selection", "proxy")),
    Control(proxy_that_learns_from_all_examples, SELECTION, ("selection", "proxy")),
    Control(proxy_that_learns_in_every_step, SELECTION, ("selection", "proxy")),
    Control(proxy_with_lookahead, SELECTION, ("proxy",)),
    Control(proxy_on_a_schedule_of_its_updates, SELECTION, ("proxy",)),
    Control(remainder_dropped, SELECTION, SELECTION),
)


HIVERGE_CONTROLS = (
    Control(gelu_for_silu, ("layers", *PASS), ("layers", *PASS)),
    Control(contrast_before_brightness, PIXELS, ("augmentation",)),
    Control(rescaling_in_every_step, ("schedule", "optimizer", "freeze"), ("optimizer",)),
    Control(rescaling_a_step_late, ("schedule", "optimizer", "freeze"), ("optimizer",)),
    Control(no_decay_of_convolutions, ("schedule", "optimizer", "freeze"), ("optimizer",)),
    Control(views_for_the_most_confident, PIXELS, ("tta",)),
    Control(views_weighted_by_how_far_they_are_moved, PIXELS, ("tta",)),
)


SIZES = ("resize", "curriculum", "tail")


CURRICULUM_CONTROLS = (
    Control(no_antialiasing, SIZES, ("resize",)),
    Control(aligned_corners, SIZES, ("resize",)),
    Control(maximum_in_place_of_the_mean, ("resize", "image-sizes"), ("image-sizes",)),
    Control(sizes_change_a_step_late, SIZES, ("curriculum",)),
    Control(tail_begins_a_step_late, SIZES, ("tail",)),
    Control(rate_falls_to_nothing, ("schedule", "optimizer", "freeze"), ("schedule", "optimizer")),
)


STEPS, SHOWN = ("ramp", "stream-step"), ("boxes", "area", "ramp")


STREAM_CONTROLS = (
    Control(no_decay_in_shortcuts, STEPS, ("stream-step",)),
    Control(nesterov_s_momentum, STEPS, ("stream-step",)),
    Control(mirror_bits_of_other_images, STEPS, ("stream-step",)),
    Control(areas_and_shapes_exchanged, SHOWN, ("boxes",)),
    Control(pixels_in_place_of_areas, SHOWN, ("area",)),
    Control(sizes_rounded_up, SHOWN, ("ramp",)),
)


PLANTED = [
    pytest.param(recipe, control, id=f"{recipe}-{control.plant.__name__}")
    for recipe, controls in (
        ("94", CONTROLS),
        ("94-muon", MUON_CONTROLS),
        ("96-faster", FASTER_CONTROLS),
        ("94-hiverge", HIVERGE_CONTROLS),
        ("94-curriculum", CURRICULUM_CONTROLS),
        ("resnet18", RESNET_CONTROLS),
        ("94", STREAM_CONTROLS),
    )
    for control in controls
]


@pytest.mark.parametrize(("recipe", "control"), PLANTED)
def test_planted_mistake_turns_its_checks_red_and_no_others(
    recipe: str, control: Control, monkeypatch: pytest.MonkeyPatch, builtin: tuple[str, np.ndarray, np.ndarray]
) -> None:
    control.plant(monkeypatch)
    both = recipe == "resnet18" and "normalize" in control.watched
    precisions = ("float64", "float32") if both else ("float64",)
    result = run_suite(OWN, builtin, recipes=(recipe,), checks=control.watched, precisions=precisions)
    assert {row.check for row in result.rows} == set(control.watched)
    assert {row.check for row in result.rows if not row.passed} == set(control.red)


@pytest.mark.parametrize(
    ("name", "module", "key", "factor"),
    [*(("94-muon", model, "0.bias", factor) for factor in (0.0, 0.5, 2.0)), ("resnet18", resnet, "fc.bias", 0.5)],
)
def test_a_bias_of_few_channels_on_another_scale_turns_the_initial_law_red(
    name: str,
    module: Any,
    key: str,
    factor: float,
    monkeypatch: pytest.MonkeyPatch,
    builtin: tuple[str, np.ndarray, np.ndarray],
) -> None:
    right = module.bias_uniform
    monkeypatch.setattr(module, "bias_uniform", lambda fan_in: lambda *arguments: factor * right(fan_in)(*arguments))
    setup = CheckSetup(name, narrow(RECIPES[name]), *builtin[1:], OWN, ("float32",))
    failed = {comparison.name.split()[0] for comparison in check_initialisation(setup) if not comparison.passed}
    assert failed == {key}


def test_a_mistake_in_the_updates_shows_in_the_trajectory(
    monkeypatch: pytest.MonkeyPatch, builtin: tuple[str, np.ndarray, np.ndarray]
) -> None:
    lookahead_without_running_statistics(monkeypatch)
    result = run_suite(OWN, builtin, recipes=("94",), checks=("trajectory",), precisions=("float64",))
    failed = {comparison.name for comparison in result.comparisons if not comparison.passed}
    # The first sync comes after the fifth step, and it is BatchNorm's statistics that are not pulled back.
    assert "2.norm1.running_mean after 5 steps" in failed
    assert not any(name.endswith("after 4 steps") for name in failed)
