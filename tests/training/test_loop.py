import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import jax
import numpy as np
import pytest

import airjax
from airjax.kernels.backend import Driver, default_driver, make_backend
from airjax.nn.build import init_variables
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training import evaluate, loop, programs
from airjax.training.arrays import to_device
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.compile import compilations_at_once
from airjax.training.eval_plans import eval_plan
from airjax.training.events import Clock
from airjax.training.loop import DivergedError, train
from airjax.training.members import make_members, over_members
from airjax.training.programs import (
    BY_MEMBER,
    CHUNK_STEPS,
    Kind,
    Programs,
    kinds_of,
    make_steps,
    plan_calls,
    steps_per_call,
)
from airjax.training.step import StepMetrics
from airjax.utils.seeds import make_key

FROZEN = ("whiten_bias",)


def test_seeds_and_data_never_recompile(tiny: Recipe, toy: airjax.Dataset) -> None:
    train(tiny, toy, 0)
    compiled: list[str] = []

    def listen(event: str, seconds: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(f"{event} {seconds}")

    jax.monitoring.register_event_duration_secs_listener(listen)
    other = airjax.Dataset("other", toy.train_images[::-1], toy.train_labels[::-1], toy.test_images, toy.test_labels)
    train(tiny, toy, 1)
    train(tiny, other, 2)
    assert compiled == []
    train(tiny.override(logit_scale=0.3), toy, 0)
    jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled != []  # what is compiled is seen


@pytest.mark.parametrize(("driver", "length"), [("loop", 1), ("chunks", CHUNK_STEPS), ("scan", 8)])
def test_a_recipe_compiles_one_training_program_per_phase(
    tiny: Recipe, toy: airjax.Dataset, driver: Driver, length: int, compiled_kinds: list[Kind | None]
) -> None:
    train(tiny, toy, 0, driver=driver)
    assert sorted(kind for kind in compiled_kinds if kind is not None) == [Kind((), length), Kind(FROZEN, length)]
    assert compiled_kinds.count(None) == 1


def test_a_cpu_compiles_before_the_first_step_only_what_that_needs(
    tiny: Recipe, toy: airjax.Dataset, compiled_kinds: list[Kind | None]
) -> None:
    before: list[list[Kind | None]] = []
    train(tiny, toy, 0, driver="chunks", on_step=lambda *_: before.append([*compiled_kinds]))
    assert before[0] == [None, Kind((), CHUNK_STEPS)]
    assert before[-1] == [None, Kind((), CHUNK_STEPS), Kind(FROZEN, CHUNK_STEPS)]
    compiled_kinds.clear()
    programs._programs_of.cache_clear()
    before.clear()
    train(tiny, toy, 0, driver="scan", on_step=lambda *_: before.append([*compiled_kinds]))
    assert len(before[0]) == 3


@pytest.fixture
def compiled_kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Kind | None]]:
    """The programs that are compiled during a test, in order, as in a fresh process; None is the start."""
    seen: list[Kind | None] = []
    lower = Programs._lower

    def note(self: Programs, kind: Kind | None) -> jax.stages.Lowered:
        seen.append(kind)
        return lower(self, kind)

    monkeypatch.setattr(Programs, "_lower", note)
    programs._programs_of.cache_clear()
    yield seen
    programs._programs_of.cache_clear()


def test_chunks_take_seconds_and_end_with_the_epoch(
    tiny: Recipe, toy: airjax.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, chunks, scan = (make_backend("float32", "cpu", "native", driver) for driver in get_args(Driver))
    assert [steps_per_call(RECIPES[name], chunks) for name in ("94", "96", "tiny")] == [4, 1, CHUNK_STEPS]
    assert (steps_per_call(tiny, loop), steps_per_call(tiny, scan)) == (1, None)
    monkeypatch.setattr(programs, "CHUNK_STEPS", 3)
    steps, losses = [], []

    def note(count: int, metrics: StepMetrics) -> None:
        steps.append(count)
        losses.append(metrics.loss)

    done = train(tiny, toy, 0, driver="chunks", on_step=note, on_epoch=lambda _: None)
    assert steps == [1, 3, 6, 8, 11, 14, 16]
    assert done.metrics.loss.shape == (16,)
    assert np.array_equal(np.concatenate(losses), done.metrics.loss)


def test_the_driver_follows_what_convolves() -> None:
    forms = ("native", "matmul", "onednn")
    assert [default_driver("cpu", form) for form in forms] == ["loop", "loop", "chunks"]
    assert [default_driver("gpu", form) for form in forms] == 3 * ["scan"]


def test_the_same_seed_gives_the_same_bits_twice(tiny: Recipe, toy: airjax.Dataset) -> None:
    first, again, other = (train(tiny, toy, seed) for seed in (5, 5, 6))
    for ours, theirs in zip(jax.tree.leaves(first.variables), jax.tree.leaves(again.variables), strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(first.logits, again.logits)
    assert not np.array_equal(first.logits, other.logits)


def test_the_same_seed_gives_the_same_bits_in_two_processes(tiny: Recipe, toy: airjax.Dataset) -> None:
    script = """
import hashlib
from airjax.data.builtin import load_builtin
from airjax.training.loop import train
from airjax.recipes.published import RECIPES
print(hashlib.sha256(train(RECIPES["tiny"], load_builtin(300, 100), 5).logits.tobytes()).hexdigest())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    import hashlib

    here = train(tiny, toy, 5)
    assert run.stdout.strip() == hashlib.sha256(here.logits.tobytes()).hexdigest()


def test_reports_and_seconds_of_a_run(tiny: Recipe, toy: airjax.Dataset) -> None:
    steps, losses, reports = [], [], []

    def note(count: int, metrics: StepMetrics) -> None:
        steps.append(count)
        losses.append(float(metrics.loss))

    done = train(tiny, toy, 0, driver="loop", validate=True, on_step=note, on_epoch=reports.append)
    assert steps == list(range(1, 17))
    assert losses == done.metrics.loss.tolist()
    assert [report.epoch for report in reports] == [0, 1]
    assert reports[0].tta_accuracy is None
    assert reports[1].tta_accuracy == done.accuracy
    assert all(0 <= report.validation_accuracy <= 1 for report in reports)
    assert reports[0].train_loss == pytest.approx(done.metrics.loss[:8].mean())
    assert set(done.seconds) == {"compile", "whiten", "train", "evaluate"}
    assert done.metrics.loss.shape == (16,)
    assert done.accuracy == (done.logits.argmax(1) == toy.test_labels).mean()


def test_divergence_is_named_with_its_step(tiny: Recipe, toy: airjax.Dataset) -> None:
    wild = tiny.override(learning_rate=1e9, bias_scale=1e6)
    message = r"seed 4: the loss is not finite at step \d+ of 16 \(epoch \d of 2\)"
    with pytest.raises(DivergedError, match=message) as raised:
        train(wild, toy, 4)
    assert 0 < raised.value.step < 16
    again = pickle.loads(pickle.dumps(raised.value))  # as from a process of a pool
    assert (str(again), again.seed, again.step) == (str(raised.value), 4, raised.value.step)


def test_a_last_update_that_diverges_is_told_by_the_logits(
    tiny: Recipe, toy: airjax.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = loop._evaluate
    monkeypatch.setattr(loop, "_evaluate", lambda *arguments: evaluate(*arguments) * np.nan)
    with pytest.raises(DivergedError, match="seed 4: the outputs on the test images are not finite; lower") as raised:
        train(tiny, toy, 4)
    assert raised.value.step is None
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_too_few_examples_are_refused_with_the_remedy(toy: airjax.Dataset) -> None:
    with pytest.raises(ValueError, match="uses 50000 train examples, but synthetic has 300; pass --train-examples 300"):
        train(RECIPES["94"], toy, 0)


SWITCHES: list[dict[str, Any]] = [
    *({"whiten": False}, {"whiten_bias": False}, {"whiten_bias_epochs": 0.5}, {"dirac": False}),
    *({"bias_scale": 1.0}, {"lookahead": False}, {"batchnorm_momentum": 0.9}, {"logit_scale": 0.2}),
    *({"schedule_peak": 0.5}, {"schedule_end": 0.5}, {"flip": "random"}, {"flip": "alternating-hash"}),
    *({"flip": "none"}, {"order": "replacement"}, {"order": "fixed"}, {"translate": 0}, {"cutout": 12}),
    *({"crop_sampling": "low-discrepancy"}, {"antithetic": True}, {"order": "flip-flop"}),
    *({"convs_per_block": 3}, {"precision": "float16"}, {"precision": "bfloat16"}),
    *({"tta_level": 1}, {"tta_level": 2}, {"activation": "silu"}, {"final_pool": "mean"}, {"batchnorm_groups": 2}),
    *({"unit_head": True}, {"whiten_bias_random": True}, {"whiten_ascending": True}, {"brightness": 0.2}),
    *({"contrast": 0.2}, {"padding": "zero"}),
]
# What is seen only beside another change.
PAIRS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"convs_per_block": 3}, {"residual": "before-activation"}),
    ({"convs_per_block": 3}, {"residual": "after-activation"}),
    ({"tta_level": 2}, {"tta_mirror": False}),
    ({"cutout": 12}, {"cutout_form": "clipped"}),
]


@pytest.fixture(scope="module")
def few(tiny: Recipe) -> Recipe:
    """Four steps of two epochs, with two averages, by one program: nothing is frozen, and one view is evaluated."""
    changes = {"train_examples": 64, "test_examples": 20, "widths": (4, 4, 4), "lookahead_every": 2}
    return tiny.override(**changes, whiten_bias_epochs=None, tta_level=0)


@pytest.fixture(scope="module")
def logits_as_it_is(few: Recipe, toy: airjax.Dataset) -> np.ndarray:
    return train(few, toy, 0).logits


@pytest.mark.parametrize("change", SWITCHES, ids=str)
def test_every_switch_changes_the_network(
    few: Recipe, toy: airjax.Dataset, logits_as_it_is: np.ndarray, change: dict[str, Any]
) -> None:
    done = train(few.override(**change), toy, 0)
    assert np.isfinite(done.metrics.loss).all()
    assert done.logits.shape == (20, 10)
    assert not np.array_equal(done.logits, logits_as_it_is)


@pytest.mark.parametrize(("beside", "change"), PAIRS, ids=str)
def test_every_switch_changes_the_network_beside_what_it_needs(
    few: Recipe, toy: airjax.Dataset, beside: dict[str, Any], change: dict[str, Any]
) -> None:
    without, done = (train(few.override(**beside, **both), toy, 0) for both in ({}, change))
    assert np.isfinite(done.metrics.loss).all()
    assert not np.array_equal(done.logits, without.logits)


def test_the_same_settings_change_nothing(few: Recipe, toy: airjax.Dataset, logits_as_it_is: np.ndarray) -> None:
    assert np.array_equal(train(few.override(**few.flat()), toy, 0).logits, logits_as_it_is)


def test_float64_without_64_bit_types_is_refused(tiny: Recipe) -> None:
    with pytest.raises(ValueError, match="JAX_ENABLE_X64=1"):
        resolve_precision(tiny.override(precision="float64"))


def test_clock_is_monotonic_whatever_the_wall_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: -1e9)
    clock = Clock()
    clock.begin("train")
    clock.pause()
    assert 0 <= clock.seconds["train"] < 1


def test_phases_are_announced_and_counted_but_for_validation(tiny: Recipe, toy: airjax.Dataset) -> None:
    phases: list[str] = []
    done = train(tiny, toy, 0, validate=True, on_epoch=lambda report: None, on_phase=phases.append)
    without_compiling = [phase for phase in phases if phase != "compile"]
    epochs = int(tiny.epochs)
    assert without_compiling == ["whiten", *["train", "validate"] * (epochs - 1), "train", "evaluate", "validate"]
    assert set(done.seconds) == {"compile", "whiten", "train", "evaluate"}


def test_mini_learns_cifar10(cifar10: airjax.Dataset) -> None:
    done = train(RECIPES["mini"], cifar10, 0)
    assert done.accuracy > 0.3
    assert done.metrics.loss[-20:].mean() < done.metrics.loss[:20].mean() - 0.15


@pytest.mark.parametrize(("platform", "lowered_for"), [("gpu", "cuda"), ("tpu", "tpu")])
@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.cropping is None])
def test_every_recipe_lowers_for_accelerators_in_half_precision(name: str, platform: str, lowered_for: str) -> None:
    recipe = resolve_precision(RECIPES[name], platform)
    assert recipe.precision == "bfloat16"
    backend = make_backend("bfloat16", platform, "native")
    assert backend.driver == "scan"
    members = jax.eval_shape(lambda: make_members(recipe, airjax.seed_keys([0])))
    images = jax.ShapeDtypeStruct((recipe.train_examples, 32, 32, 3), np.uint8)
    labels = jax.ShapeDtypeStruct((recipe.train_examples,), np.int32)
    state, task, count = Programs(recipe, backend, "sequential", (members, images, labels)).step_shapes
    for kind in kinds_of(plan_calls(recipe, backend)):
        steps = jax.jit(over_members("sequential", make_steps(recipe, backend, kind), (True, BY_MEMBER, False)))
        text = steps.trace(state, task, count).lower(lowering_platforms=(lowered_for,)).as_text()
        convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        assert len(convolutions) >= 3 * 6 - 1  # nothing needs a gradient before the first one
        for line in convolutions:
            assert line.count("xbf16>") == 3
        assert "custom_call" not in text  # of another library, on a CPU, or of our own kernels, on a GPU


def test_nothing_that_is_traced_asks_which_platform_this_is(
    tiny: Recipe, toy: airjax.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = resolve_precision(tiny)
    backend, members = backend_of(recipe), make_members(recipe, airjax.seed_keys([0]))
    arrays = to_device(toy, recipe)
    asked: list[str] = []
    right = jax.default_backend
    monkeypatch.setattr(jax, "default_backend", lambda: asked.append("asked") or right())
    made = Programs(recipe, backend, "sequential", (members, arrays.train_images, arrays.train_labels))
    for kind in (None, *kinds_of(plan_calls(recipe, backend))):
        made._lower(kind)
    plan = eval_plan(recipe, backend)
    variables = jax.eval_shape(lambda: init_variables(recipe, backend, make_key(0)))
    images = jax.ShapeDtypeStruct((plan.images, 32, 32, 3), np.uint8)
    logits = partial(evaluate.tta_logits_in_passes, recipe, backend, plan=plan)
    jax.jit(logits).lower(variables, images, jax.ShapeDtypeStruct((), np.int32))
    assert asked == []
    backend_of(recipe)
    assert asked != []  # the host does ask


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() == "cpu", reason="needs an accelerator")
def test_94_on_an_accelerator_reaches_its_band(cifar10: airjax.Dataset) -> None:
    assert 0.936 <= train(RECIPES["94"], cifar10, 0).accuracy <= 0.944


def test_a_gpu_compiles_one_program_after_another() -> None:
    assert compilations_at_once("gpu") == 1
    assert compilations_at_once("cpu") is None


def test_images_on_the_device_are_cut_by_one_program(random_images: np.ndarray) -> None:
    evaluate.compile_part.cache_clear()
    on_device = jax.numpy.asarray(random_images[:10])
    for images in (on_device, random_images[:10]):
        parts = list(evaluate.parts_of(images, 4))
        assert [count for _, count in parts] == [4, 4, 2]
        np.testing.assert_array_equal(parts[1][0], random_images[4:8])
        np.testing.assert_array_equal(parts[2][0][:2], random_images[8:10])
        assert not np.asarray(parts[2][0][2:]).any()
    assert evaluate.compile_part.cache_info().misses == 1


def test_an_evaluation_compiles_nothing_on_its_clock(tiny: Recipe, toy: airjax.Dataset) -> None:
    evaluate.compile_part.cache_clear()
    begun: list[tuple[str, int]] = []
    train(tiny, toy, 0, on_phase=lambda phase: begun.append((phase, evaluate.compile_part.cache_info().misses)))
    assert begun[-1] == ("evaluate", 1)
    assert evaluate.compile_part.cache_info().misses == 1


@pytest.mark.parametrize("driver", get_args(Driver))
def test_an_evaluation_has_one_program_however_steps_are_called(
    tiny: Recipe, toy: airjax.Dataset, driver: Driver
) -> None:
    train(tiny, toy, 0)
    before = evaluate._compile_logits.cache_info().misses
    done = train(tiny, toy, 0, driver=driver)
    airjax.infer(airjax.Model(done.recipe, done.variables), toy.test_images[:5])
    assert evaluate._compile_logits.cache_info().misses == before
    another = done.recipe.override(logit_scale={"loop": 0.01, "chunks": 0.02, "scan": 0.03}[driver])
    evaluate.compile_logits(another, 0, backend_of(another))
    assert evaluate._compile_logits.cache_info().misses == before + 1  # of another network it is counted
