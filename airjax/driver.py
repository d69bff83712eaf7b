"""Trains one network from the host: compiles a run's pieces ahead of time, drives them, watches the clock and the loss.

One train step, two drivers: a scan over an epoch's steps on accelerators, and on a CPU a loop over the donated step,
because a CPU runs convolutions inside a scan eighty times slower.
"""

import functools
import itertools
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from airjax.data.dataset import Dataset
from airjax.evaluate import eval_batch, tta_logits
from airjax.model import Variables
from airjax.optimizer import hyperparameters
from airjax.precision import resolve_precision
from airjax.recipe import IMAGE_SIZE, Recipe
from airjax.run import Arrays, RunResult, Segment, advance, advance_many, segments, start_run
from airjax.step import StepMetrics, finish, variables_of

Driver = Literal["loop", "scan"]

# The CPU compiler's default fusion library doubles the step's time and is the subject of wrong-result reports.
COMPILER_OPTIONS: dict[str, dict[str, str]] = {"cpu": {"xla_cpu_experimental_ynn_fusion_type": ""}}


class Program(NamedTuple):
    """The pieces of a run, compiled for one recipe and one set of array shapes."""

    start: Any  # (key, train_images, hyper) -> (state, draws)
    advance: dict[tuple[bool, int], Any]  # _kind(segment) -> (state, images, labels, draws, hyper) -> (state, metrics)
    logits: Any  # (variables, images [B,32,32,3] uint8) -> logits [B,10] with the recipe's test-time augmentation
    plain_logits: Any  # the same without test-time augmentation; None unless validation was asked for
    eval_batch: int  # B


class EpochReport(NamedTuple):
    """One row of the table of a run."""

    epoch: int  # from 0
    train_loss: float  # mean over the epoch's examples
    train_accuracy: float  # the same, as they were trained on
    validation_accuracy: float | None  # without test-time augmentation; None unless asked for
    tta_accuracy: float | None  # with it; None before the last epoch
    seconds: float  # of training so far, validation not counted


class TrainedRun(NamedTuple):
    """A finished training and what it cost."""

    recipe: Recipe  # with its precision resolved
    seed: int
    result: RunResult  # variables on the device, the rest as numpy arrays
    seconds: dict[str, float]  # compile, whiten, train, evaluate


class DivergedError(ArithmeticError):
    """The loss became NaN or infinite. `step` is the first such step, from 0."""

    def __init__(self, recipe: Recipe, seed: int, step: int) -> None:
        self.seed, self.step = seed, step
        super().__init__(
            f"seed {seed}: the loss is not finite at step {step} of {recipe.total_steps} "
            f"(epoch {step // recipe.steps_per_epoch}); lower learning-rate (now {recipe.learning_rate:g}) or momentum"
        )


def default_driver() -> Driver:
    """A loop on a CPU, a scan elsewhere."""
    return "loop" if jax.default_backend() == "cpu" else "scan"


def compile_function(function: Callable[..., Any], *shapes: Any, donate: tuple[int, ...] = ()) -> Any:
    """Compile a pure function for arguments of these shapes, with this backend's options."""
    lowered = jax.jit(function, donate_argnums=donate).lower(*shapes)
    return lowered.compile(compiler_options=COMPILER_OPTIONS.get(jax.default_backend()))


@functools.lru_cache(maxsize=16)
def compile_run(recipe: Recipe, driver: Driver, kinds: tuple[tuple[bool, int], ...], validate: bool) -> Program:
    """Compile a recipe's run, with one training program for each of kinds: (whether the bias trains, number of steps).

    Seeds, data and hyperparameters are arguments of the programs, so nothing is compiled again for them.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    hyper = jax.eval_shape(lambda: hyperparameters(recipe))
    images = jax.ShapeDtypeStruct((recipe.train_examples, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct((recipe.train_examples,), jnp.int32)
    start = functools.partial(start_run, recipe)
    state, draws = jax.eval_shape(start, key, images, hyper)
    variables = jax.eval_shape(variables_of, state)

    steps: dict[tuple[bool, int], Any] = {}
    for train_whiten_bias, num_steps in kinds:
        function = advance if driver == "loop" else functools.partial(advance_many, num_steps=num_steps)
        step = functools.partial(function, recipe, train_whiten_bias=train_whiten_bias)
        steps[train_whiten_bias, num_steps] = compile_function(step, state, images, labels, draws, hyper, donate=(0,))
    return Program(
        start=compile_function(start, key, images, hyper),
        advance=steps,
        logits=compile_logits(recipe, variables, recipe.tta_level),
        plain_logits=compile_logits(recipe, variables, 0) if validate else None,
        eval_batch=eval_batch(recipe),
    )


def compile_logits(recipe: Recipe, variables: Variables, level: int) -> Any:
    """Compile (variables, images [B,32,32,3] uint8) -> logits [B,10], with B the usual evaluation batch."""
    images = jax.ShapeDtypeStruct((eval_batch(recipe), IMAGE_SIZE, IMAGE_SIZE, 3), jnp.uint8)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    return compile_function(functools.partial(tta_logits, recipe, level=level), shapes, images)


def batched_logits(compiled: Any, batch: int, variables: Variables, images: Any) -> np.ndarray:
    """Logits [N,10] of images [N,32,32,3] uint8 from a function of `batch` images; the last batch is padded."""
    parts = []
    for start in range(0, len(images), batch):
        part = jnp.asarray(images[start : start + batch])
        missing = batch - len(part)
        if missing:
            part = jnp.concatenate([part, jnp.zeros((missing, *part.shape[1:]), part.dtype)])
        parts.append(np.asarray(compiled(variables, part))[: batch - missing])
    return np.concatenate(parts)


def train(
    recipe: Recipe,
    data: Dataset,
    seed: int,
    *,
    driver: Driver | None = None,
    validate: bool = False,
    on_step: Callable[[int, StepMetrics], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainedRun:
    """Train one network and evaluate it.

    Args:
        recipe: the method. It uses the first `train_examples` and `test_examples` of the data.
        data: the data set.
        seed: the one number that everything random follows from.
        driver: see `default_driver`.
        validate: also evaluate without test-time augmentation after every epoch, outside the clock.
        on_step: called with the number of steps done and metrics of a recent step or steps, still on the device.
        on_epoch: called after every epoch.

    Raises:
        DivergedError: the loss is not finite.
        ValueError: the data has fewer examples than the recipe uses.
    """
    recipe = resolve_precision(recipe)
    driver = driver or default_driver()
    arrays = place(recipe, data)
    clock = Clock()
    plan = segments(recipe, by_epoch=on_epoch is not None or validate)
    # One program per phase. A scan that stops at every epoch needs one more where the last epoch is shorter.
    kinds = tuple(dict.fromkeys(_kind(segment, driver) for segment in plan))
    program = compile_run(recipe, driver, kinds, validate)
    hyper = hyperparameters(recipe)
    clock.stop("compile")
    state, draws = jax.block_until_ready(program.start(jax.random.key(seed), arrays.train_images, hyper))
    clock.stop("whiten")

    history = StepMetrics(np.empty(0), np.empty(0))
    steps_done = 0
    for epoch, parts in itertools.groupby(plan, key=lambda segment: segment.epoch):
        clock.start()
        recent: list[StepMetrics] = []
        for segment in parts:
            step = program.advance[_kind(segment, driver)]
            per_call = 1 if driver == "loop" else segment.num_steps
            for _ in range(segment.num_steps // per_call):
                state, metrics = step(state, arrays.train_images, arrays.train_labels, draws, hyper)
                # Wait for the step before: the device stays busy, and the queue of steps stays short.
                jax.block_until_ready(recent[-1:])
                recent.append(metrics)
                steps_done += per_call
                if on_step is not None:
                    on_step(steps_done, recent[max(0, len(recent) - 2)])
        jax.block_until_ready(state)
        clock.stop("train")
        latest = StepMetrics(*(np.concatenate([np.atleast_1d(m) for m in column]) for column in zip(*recent, strict=True)))
        history = StepMetrics(*(np.concatenate(pair) for pair in zip(history, latest, strict=True)))
        finite = np.isfinite(history.loss)
        if not finite.all():
            raise DivergedError(recipe, seed, int(np.argmin(finite)))

        accuracy = None
        if steps_done == recipe.total_steps:
            variables = finish(state)
            clock.start()
            logits = batched_logits(program.logits, program.eval_batch, variables, arrays.test_images)
            accuracy = float((logits.argmax(1) == np.asarray(arrays.test_labels)).mean())
            clock.stop("evaluate")
        if on_epoch is not None:
            validation = None
            if validate:
                network = variables if accuracy is not None else variables_of(state)
                plain = batched_logits(program.plain_logits, program.eval_batch, network, arrays.test_images)
                validation = float((plain.argmax(1) == np.asarray(arrays.test_labels)).mean())
            row = (float(latest.loss.mean()), float(latest.accuracy.mean()), validation, accuracy)
            on_epoch(EpochReport(epoch, *row, clock.seconds["train"]))
    return TrainedRun(recipe, seed, RunResult(variables, history, logits, accuracy), clock.seconds)


def place(recipe: Recipe, data: Dataset) -> Arrays:
    """The examples that the recipe uses, on the device. Raises ValueError if there are too few."""
    for split, images, wanted in (
        ("train", data.train_images, recipe.train_examples),
        ("test", data.test_images, recipe.test_examples),
    ):
        if len(images) < wanted:
            raise ValueError(
                f"the recipe uses {wanted} {split} examples, but {data.name} has {len(images)}; "
                f"pass --{split}-examples {len(images)}, or use recipe.fit_to(...)"
            )
    train, test = recipe.train_examples, recipe.test_examples
    return Arrays(
        jnp.asarray(data.train_images[:train]),
        jnp.asarray(data.train_labels[:train], jnp.int32),
        jnp.asarray(data.test_images[:test]),
        jnp.asarray(data.test_labels[:test], jnp.int32),
    )


class Clock:
    """Adds up the seconds of named parts, with a monotonic timer."""

    def __init__(self) -> None:
        self.seconds = {"compile": 0.0, "whiten": 0.0, "train": 0.0, "evaluate": 0.0}
        self.start()

    def start(self) -> None:
        """Begin a part; whatever came since the last stop is not counted."""
        self._since = time.perf_counter()

    def stop(self, part: str) -> None:
        """Add the time since the last start or stop to a part."""
        now = time.perf_counter()
        self.seconds[part] += now - self._since
        self._since = now


def _kind(segment: Segment, driver: Driver) -> tuple[bool, int]:
    # Which program does this segment: the loop driver calls a one-step program many times.
    return segment.train_whiten_bias, 1 if driver == "loop" else segment.num_steps
