"""Trains one network from the host: compiles a run's pieces ahead of time, drives them, watches the clock and the loss.

One train step, three drivers: a scan over an epoch's steps on accelerators; on a CPU chunks of a few steps where oneDNN
convolves, and a loop over single steps where XLA does, because a CPU runs XLA's convolutions inside of anything that
loops many times slower (docs/performance.md, "What was tried").
"""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from airjax.augment.batch import Selection
from airjax.augment.draws import Draws
from airjax.data.dataset import Dataset
from airjax.kernels.layers import Convolution, default_convolution
from airjax.nn.airbench import Variables, init_variables
from airjax.optim.nesterov import Hyperparameters, hyperparameters
from airjax.recipes.precision import precision_of, resolve_precision
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import CLASSES, IMAGE_SIZE, Recipe
from airjax.training.arguments import check_choice, check_data
from airjax.training.compile import compilations_at_once, compile_function, compile_lowered
from airjax.training.evaluate import eval_plan, tta_logits_in_passes
from airjax.training.run import Arrays, Segment, advance, advance_many, advance_up_to, segments, start_run
from airjax.training.step import StepMetrics, TrainState, finish, variables_of
from airjax.utils.platform import default_platform
from airjax.utils.reprs import one_line
from airjax.utils.seeds import check_seed, make_key

Driver = Literal["loop", "chunks", "scan"]


# What a training is doing; "validate" is the evaluation between epochs, which no clock counts.
Phase = Literal["compile", "whiten", "train", "validate", "evaluate"]


# One training program of a run: whether the whitening bias trains, and how many steps a call takes at most.
Kind = tuple[bool, int]


# A chunk's size: a call costs a CPU some milliseconds and the pages of all its memory; a longer one shows progress less
# often.
CHUNK_FLOPS = 3e12


CHUNK_STEPS = 32


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
    variables: Variables
    metrics: StepMetrics  # numpy arrays [T]: one entry per step
    logits: np.ndarray  # [M,10] of the test images, with test-time augmentation
    accuracy: float  # share of the test images classified right
    seconds: dict[str, float]  # compile, whiten, train, evaluate

    def __repr__(self) -> str:
        return one_line(self)


class Callbacks(NamedTuple):
    """What a training calls while it runs; None is not called."""

    on_phase: Callable[[Phase], None] | None = None
    on_step: Callable[[int, StepMetrics], None] | None = None
    on_epoch: Callable[[EpochReport], None] | None = None
    on_group: Callable[[int], None] | None = None


class DivergedError(ArithmeticError):
    """The loss became NaN or infinite. `step` is the first such step, from 0; the message counts from 1."""

    def __init__(self, recipe: Recipe, seed: int, step: int) -> None:
        self.seed, self.step = seed, step
        super().__init__(
            f"seed {seed}: the loss is not finite at step {step + 1} of {recipe.total_steps} (epoch "
            f"{step // recipe.steps_per_epoch + 1} of {math.ceil(recipe.epochs)}); lower learning-rate "
            f"(now {recipe.learning_rate:g}) or momentum"
        )


def default_driver(convolution: Convolution) -> Driver:
    """Chunks or a loop on a CPU, by what convolves; a scan elsewhere."""
    if default_platform() != "cpu":
        return "scan"
    return "chunks" if convolution == "onednn" else "loop"


def steps_per_call(recipe: Recipe, driver: Driver) -> int | None:
    """Steps that a call takes at most; None: as many as a program can."""
    if driver == "chunks":
        flops = 6.0 * recipe.forward_macs * recipe.batch_size
        return max(1, min(CHUNK_STEPS, int(CHUNK_FLOPS / flops)))
    return 1 if driver == "loop" else None


def calls(recipe: Recipe, driver: Driver, *, by_epoch: bool = False) -> list[tuple[Segment, Kind]]:
    """The run as a driver calls it: the steps of every call, and the program that takes them."""
    limit = steps_per_call(recipe, driver)
    return [(segment, program_kind(segment, limit)) for segment in segments(recipe, by_epoch=by_epoch, at_most=limit)]


def program_kind(segment: Segment, limit: int | None) -> Kind:
    """Which program takes a segment of at most limit steps."""
    return segment.train_whiten_bias, limit or segment.num_steps


def kinds_of(calls: Sequence[tuple[Segment, Kind]]) -> tuple[Kind, ...]:
    """The programs that calls need, each once, in the order of their first call."""
    return tuple(dict.fromkeys(kind for _, kind in calls))


def convolution_for(recipe: Recipe) -> Convolution:
    """The form of convolution in which one network of a recipe, with its precision resolved, trains here."""
    return default_convolution(precision_of(recipe).compute)


class Program:
    """The training programs of a recipe, which has no hyperparameters of its own. Each is compiled once.

    Seeds, data and hyperparameters are arguments of the programs, so nothing is compiled again for them; `step_shapes`
    are the arguments' shapes.
    """

    def __init__(self, recipe: Recipe, driver: Driver, convolution: Convolution) -> None:
        self._make_steps = functools.partial(make_steps, recipe, driver, convolution=convolution)
        self._start = functools.partial(start_run, recipe)
        key = jax.eval_shape(lambda: make_key(0))
        hyper = jax.eval_shape(lambda: hyperparameters(recipe))
        images = jax.ShapeDtypeStruct((recipe.train_examples, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.uint8)
        labels = jax.ShapeDtypeStruct((recipe.train_examples,), jnp.int32)
        self._start_shapes = key, images, hyper
        state, draws = jax.eval_shape(self._start, *self._start_shapes)
        self.step_shapes = state, images, labels, draws, hyper, None, jax.ShapeDtypeStruct((), jnp.int32)
        self._compiled: dict[Kind | None, Any] = {}  # None: the start

    def lacks(self, kinds: Iterable[Kind]) -> list[Kind | None]:
        """Which of the start (None) and these kinds of training programs are not compiled yet."""
        return [kind for kind in (None, *kinds) if kind not in self._compiled]

    def compile(self, kinds: Iterable[Kind]) -> None:
        """Compile the start and these kinds of training programs, so far as they are not."""
        wanted = self.lacks(kinds)
        if not wanted:  # as before nearly every call of a program
            return
        # The compiler works outside Python's lock, so programs compile while the next one is traced.
        with ThreadPoolExecutor(compilations_at_once()) as pool:
            compiling = {kind: pool.submit(compile_lowered, self._lower(kind), once=kind is None) for kind in wanted}
        self._compiled |= {kind: future.result() for kind, future in compiling.items()}

    @property
    def start(self) -> Any:
        """(key, train_images, hyper) -> (state, draws)."""
        self.compile(())
        return self._compiled[None]

    def advance(self, kind: Kind) -> Any:
        """(state, images, labels, draws, hyper, None, count) -> (state, metrics): count steps; see `make_steps`."""
        self.compile((kind,))
        return self._compiled[kind]

    def _lower(self, kind: Kind | None) -> jax.stages.Lowered:
        if kind is None:
            return jax.jit(self._start).lower(*self._start_shapes)
        return jax.jit(self._make_steps(kind), donate_argnums=0).lower(*self.step_shapes)


@functools.lru_cache(maxsize=16)
def program_of(recipe: Recipe, driver: Driver, convolution: Convolution) -> Program:
    """The one program of a recipe, which has no hyperparameters of its own. Nothing is compiled yet."""
    return Program(recipe, driver, convolution)


def make_steps(
    recipe: Recipe, driver: Driver, kind: Kind, convolution: Convolution
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """What one call of a driver does: (state, images, labels, draws, hyper, selection, count) -> (state, metrics).

    Only chunks look at count, the steps to take; the others' programs take as many as their kind says.
    """
    train_whiten_bias, num_steps = kind

    def steps(
        state: TrainState,
        images: Array,
        labels: Array,
        draws: Draws,
        hyper: Hyperparameters,
        selection: Selection | None,
        count: Array,
    ) -> tuple[TrainState, StepMetrics]:
        take = functools.partial(
            advance,
            recipe,
            images=images,
            labels=labels,
            draws=draws,
            hyper=hyper,
            selection=selection,
            train_whiten_bias=train_whiten_bias,
            convolution=convolution,
        )
        if driver == "chunks":
            return advance_up_to(take, state, count, num_steps)
        return advance_many(take, state, num_steps) if driver == "scan" else take(state)

    return steps


@functools.lru_cache(maxsize=64, typed=True)  # True is 1 to a cache, but no level of test-time augmentation
def compile_logits(recipe: Recipe, level: int, convolution: Convolution) -> Any:
    """Compile (variables, images [B,32,32,3] uint8, passes) -> logits [B,10], with B of all passes of eval_plan."""
    plan = eval_plan(recipe, convolution)
    variables = jax.eval_shape(functools.partial(init_variables, recipe), jax.eval_shape(lambda: make_key(0)))
    images = jax.ShapeDtypeStruct((plan.passes * plan.batch, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.uint8)
    function = functools.partial(tta_logits_in_passes, recipe, plan=plan, level=level, convolution=convolution)
    return compile_function(function, {"frozen": {}} | variables, images, jax.ShapeDtypeStruct((), jnp.int32))


def batched_logits(recipe: Recipe, variables: Variables, images: Any, level: int) -> np.ndarray:
    """Logits [N,10] of images [N,32,32,3] uint8, in calls of one size; the last is padded. recipe is resolved."""
    convolution = convolution_for(recipe)
    if not len(images):
        return np.zeros((0, CLASSES), np.float32)
    compiled, plan, parts = compile_logits(recipe, level, convolution), eval_plan(recipe, convolution), []
    for part, count in parts_of(images, plan.passes * plan.batch):
        passes = np.int32(-(-count // plan.batch))
        parts.append(np.asarray(compiled(variables, part, passes))[:count])
    return np.concatenate(parts)


def parts_of(images: Any, size: int) -> Iterator[tuple[Array, int]]:
    """Images [N,...] in parts [size,...] on the device, the last filled up with zeros, and how many each holds."""
    for start in range(0, len(images), size):
        count = min(size, len(images) - start)
        if isinstance(images, Array):
            yield compile_part(images.shape, images.dtype, size)(images, np.int32(start)), count
        else:
            part = np.zeros((size, *images.shape[1:]), images.dtype)
            part[:count] = images[start : start + count]
            yield jnp.asarray(part), count


@functools.lru_cache(maxsize=64)
def compile_part(shape: tuple[int, ...], dtype: Any, size: int) -> Any:
    """Compile (images of this shape, start []) -> size of them from start on, with zeros past the last.

    One program for every start: cut eagerly, each part of a test set would be compiled on the clock.
    """

    def part(images: Array, start: Array) -> Array:
        return jnp.take(images, start + jnp.arange(size, dtype=jnp.int32), axis=0, mode="fill", fill_value=0)

    return compile_function(part, jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct((), jnp.int32))


def train(
    recipe: Recipe | str,
    data: Dataset,
    seed: int,
    *,
    driver: Driver | None = None,
    validate: bool = False,
    on_step: Callable[[int, StepMetrics], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_phase: Callable[[Phase], None] | None = None,
) -> TrainedRun:
    """Train one network and evaluate it.

    Args:
        recipe: the method, or its name. It uses the first `train_examples` and `test_examples` of the data.
        data: the data set.
        seed: the one number that everything random follows from: a whole number from 0 to 2**32 - 1.
        driver: see `default_driver`.
        validate: also evaluate without test-time augmentation after every epoch, outside the clock.
        on_step: called after every call with the number of steps done and the metrics of the latest ones at hand.
        on_epoch: called after every epoch.
        on_phase: called with what begins, before it does. A compilation may be over at once: nothing is compiled twice.

    Raises:
        DivergedError: the loss is not finite.
        ValueError: another seed, or the data has fewer examples than the recipe uses.
        TypeError: a recipe or data of another type.
    """
    seed = check_seed(seed)
    recipe = resolve_precision(get_recipe(recipe))
    convolution = convolution_for(recipe)
    driver = driver or default_driver(convolution)
    check_choice("driver", driver, get_args(Driver))
    arrays = to_device(data, recipe)
    clock = Clock(on_phase)
    # One program per phase. A scan that stops at every epoch needs one more where the last epoch is shorter.
    plan = calls(recipe, driver, by_epoch=on_epoch is not None or validate)
    program = program_of(recipe.without_hyperparameters(), driver, convolution)
    # An accelerator is to stay busy once it starts; on a CPU what later epochs need would keep the first step waiting.
    first = kinds_of(plan) if driver == "scan" else kinds_of(plan)[:1]
    _compile(program, first, clock)
    clock.begin("whiten")
    hyper = hyperparameters(recipe)
    state, draws = jax.block_until_ready(program.start(make_key(seed), arrays.train_images, hyper))
    clock.pause()

    def evaluate(variables: Variables, level: int, phase: Phase) -> tuple[float, np.ndarray]:
        return _evaluate(recipe, variables, arrays, level, clock, phase)

    history: list[StepMetrics] = []
    steps_done = 0
    for epoch, group in itertools.groupby(plan, key=lambda call: call[0].epoch):
        parts = list(group)
        _compile(program, kinds_of(parts), clock)
        clock.begin("train")
        recent: list[StepMetrics] = []
        for segment, kind in parts:
            advance_by, count = program.advance(kind), np.int32(segment.num_steps)
            state, metrics = advance_by(state, arrays.train_images, arrays.train_labels, draws, hyper, None, count)
            recent.append(settle(metrics, segment.num_steps, driver, recent))
            steps_done += segment.num_steps
            if on_step is not None:
                on_step(steps_done, recent[-1 if driver == "chunks" else max(0, len(recent) - 2)])
        jax.block_until_ready(state)
        clock.pause()
        latest = _concatenate(recent)
        finite = np.isfinite(latest.loss)
        if not finite.all():
            raise DivergedError(recipe, seed, steps_done - len(finite) + int(np.argmin(finite)))
        history.append(latest)
        if on_epoch is not None and steps_done < recipe.total_steps:
            plain = evaluate(variables_of(state), 0, "validate")[0] if validate else None
            on_epoch(EpochReport(epoch, *_averages(latest), plain, None, clock.seconds["train"]))

    variables = finish(state)
    accuracy, logits = evaluate(variables, recipe.tta_level, "evaluate")
    if on_epoch is not None:
        plain = evaluate(variables, 0, "validate")[0] if validate else None
        last_epoch = (recipe.total_steps - 1) // recipe.steps_per_epoch
        on_epoch(EpochReport(last_epoch, *_averages(history[-1]), plain, accuracy, clock.seconds["train"]))
    return TrainedRun(recipe, seed, variables, _concatenate(history), logits, accuracy, clock.seconds)


def _evaluate(
    recipe: Recipe, variables: Variables, arrays: Arrays, level: int, clock: "Clock", phase: Phase
) -> tuple[float, np.ndarray]:
    # Compiled first, which is none of the evaluation's time.
    clock.begin("compile")
    convolution = convolution_for(recipe)
    compile_logits(recipe, level, convolution)
    plan = eval_plan(recipe, convolution)
    compile_part(arrays.test_images.shape, arrays.test_images.dtype, plan.passes * plan.batch)
    clock.begin(phase)
    found = accuracy_at(recipe, variables, arrays, level)
    clock.pause()
    return found


def _compile(program: Program, kinds: tuple[Kind, ...], clock: "Clock") -> None:
    if program.lacks(kinds):
        clock.begin("compile")
        program.compile(kinds)
        clock.pause()


def accuracy_at(recipe: Recipe, variables: Variables, arrays: Arrays, level: int) -> tuple[float, np.ndarray]:
    """Accuracy on the test images at a level of test-time augmentation, and the logits [M,10]."""
    logits = batched_logits(recipe, variables, arrays.test_images, level)
    return float((logits.argmax(1) == np.asarray(arrays.test_labels)).mean()), logits


def to_device(data: Dataset, recipe: Recipe | str) -> Arrays:
    """The examples that the recipe uses, on the device when it returns. Raises ValueError if there are too few."""
    data, recipe = check_data(data), get_recipe(recipe)
    if len(data.classes) != CLASSES:
        raise ValueError(f"{data.name} has {len(data.classes)} classes, but the network has {CLASSES} outputs")
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
    arrays = Arrays(
        jnp.asarray(data.train_images[:train]),
        jnp.asarray(data.train_labels[:train], jnp.int32),
        jnp.asarray(data.test_images[:test]),
        jnp.asarray(data.test_labels[:test], jnp.int32),
    )
    return jax.block_until_ready(arrays)  # else the transfer ends on the clock of whatever comes first


class Clock:
    """Adds up the seconds of phases, with a monotonic timer, and tells who asks which phase begins."""

    def __init__(self, on_phase: Callable[[Phase], None] | None = None) -> None:
        self.seconds = {"compile": 0.0, "whiten": 0.0, "train": 0.0, "evaluate": 0.0}
        self._on_phase = on_phase
        self._phase: Phase | None = None

    def begin(self, phase: Phase) -> None:
        """End the phase before, and begin one."""
        self.pause()
        if self._on_phase is not None:
            self._on_phase(phase)
        self._phase, self._since = phase, time.perf_counter()

    def pause(self) -> None:
        """End the phase, if there is one: what comes until the next is not counted."""
        if self._phase in self.seconds:
            self.seconds[self._phase] += time.perf_counter() - self._since
        self._phase = None


def settle(metrics: StepMetrics, count: int, driver: Driver, before: Sequence[StepMetrics]) -> StepMetrics:
    """Wait as a driver does after a call of count steps, and return its metrics [..., count].

    A chunk is waited for, so that nobody who interrupts a training has to wait for a second one. Otherwise the call
    before is: the device stays busy, and the queue of calls stays short.
    """
    if driver != "chunks":
        jax.block_until_ready(before[-1:])
        return metrics
    pause = 1e-5
    # Unlike JAX's own wait, one in Python lets an interrupt through.
    while not all(column.is_ready() for column in metrics):
        time.sleep(pause)
        pause = min(2 * pause, 1e-3)
    return StepMetrics(*(np.asarray(column)[..., :count] for column in metrics))


def _concatenate(parts: list[StepMetrics]) -> StepMetrics:
    # Scalars of single steps and vectors of scans alike become numpy vectors [T].
    columns = zip(*parts, strict=True)
    return StepMetrics(*(np.concatenate([np.atleast_1d(part) for part in column]) for column in columns))


def _averages(metrics: StepMetrics) -> tuple[float, float]:
    return float(metrics.loss.mean()), float(metrics.accuracy.mean())
