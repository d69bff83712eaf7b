"""The compiled pieces with which a group of networks trains, each compiled once and when it is first needed."""

import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int, UInt8

from airjax.augment.batch import Batch, batch_at
from airjax.kernels.backend import Backend
from airjax.nn.build import Variables
from airjax.recipes.recipe import Recipe
from airjax.training.compile import (
    compilations_at_once,
    compile_lowered,
    compile_repeated,
    compiled_once,
    tries_options,
)
from airjax.training.data_parallel import jit_on, over_devices
from airjax.training.members import Members, Strategy, join_members, over_members, split_members
from airjax.training.run import (
    Metrics,
    Segment,
    State,
    Step,
    Task,
    advance,
    advance_many,
    advance_up_to,
    segments,
    start_run,
)
from airjax.training.step import StepMetrics, TrainState, averaged_variables, variables_of
from airjax.training.tentative import Tentative

# The size of a chunk. Every call costs a CPU some milliseconds and page-faults the whole temporary buffer; long calls
# show progress less often.
CHUNK_FLOPS = 3e12
CHUNK_STEPS = 32


class Kind(NamedTuple):
    """What one training program of a run is compiled for."""

    frozen: tuple[str, ...]  # groups of parameters that do not train
    num_steps: int  # of a call, at most
    image_size: int | None = None  # height and width of its images, in pixels; None: the data's own


class Call(NamedTuple):
    """One call of a training program."""

    segment: Segment
    kind: Kind


# Which arrays of a task have an axis over the members of a group.
BY_MEMBER = Task(images=False, labels=False, draws=True, hyper=True, selection=True)  # pyright: ignore[reportArgumentType]


def steps_per_call(recipe: Recipe, backend: Backend, image_size: int | None = None) -> int | None:
    """Return the largest number of steps of a call, with images of that size; None: as many as a program can take."""
    if backend.driver == "chunks":
        return max(1, min(CHUNK_STEPS, int(CHUNK_FLOPS / recipe.step_flops(image_size))))
    return 1 if backend.driver == "loop" else None


def plan_calls(recipe: Recipe, backend: Backend, *, by_epoch: bool = False) -> list[Call]:
    """List the calls of a run: the steps of each, and the program that takes them."""
    limit = functools.partial(steps_per_call, recipe, backend)
    parts = segments(recipe, by_epoch=by_epoch, at_most=limit)
    return [Call(part, Kind(part.frozen, limit(part.image_size) or part.num_steps, part.image_size)) for part in parts]


def kinds_of(calls: Sequence[Call]) -> tuple[Kind, ...]:
    """Return the programs that calls need, each once, in the order of their first call."""
    return tuple(dict.fromkeys(call.kind for call in calls))


def make_steps(
    recipe: Recipe, backend: Backend, kind: Kind, batch_at: Callable[..., Batch] = batch_at
) -> Callable[[TrainState, Task, Array], tuple[TrainState, StepMetrics]]:
    """Return what one call does: (state, task, count) -> (state, metrics).

    Only chunks look at count, the steps to take; the others' programs take as many as their kind says.
    """

    def steps(state: TrainState, task: Task, count: Int[Array, ""]) -> tuple[TrainState, StepMetrics]:
        how = {"frozen": kind.frozen, "image_size": kind.image_size, "batch_at": batch_at}
        take = functools.partial(advance, recipe, backend, task=task, **how)
        return _repeat(backend, kind, take, state, count)

    return steps


def make_group_steps(
    recipe: Recipe, backend: Backend, kind: Kind, strategy: Strategy, batch_at: Callable[..., Batch] = batch_at
) -> Callable[[TrainState, Task, Array], tuple[TrainState, StepMetrics]]:
    """Return what one call does to a group, with an axis over its members as BY_MEMBER says.

    Interleaved members take turns after every step, inside the loop over the steps, and each has a state of its own
    until the call ends: no kernel of one waits for another one's, so an accelerator can run them side by side.
    """
    by_member = (True, BY_MEMBER, False)
    if strategy != "interleaved":
        return over_members(strategy, make_steps(recipe, backend, kind, batch_at), by_member)
    how = {"frozen": kind.frozen, "image_size": kind.image_size, "batch_at": batch_at}
    take_one = functools.partial(advance, recipe, backend, **how)

    def steps(state: TrainState, task: Task, count: Int[Array, ""]) -> tuple[TrainState, StepMetrics]:
        states, tasks = zip(*split_members((state, task), by_member[:2]), strict=True)

        def take(states: tuple[TrainState, ...]) -> tuple[tuple[TrainState, ...], tuple[StepMetrics, ...]]:
            done = [take_one(own, task=task) for own, task in zip(states, tasks, strict=True)]
            return tuple(own for own, _ in done), tuple(metrics for _, metrics in done)

        states, metrics = _repeat(backend, kind, take, states, count)
        return join_members(states), join_members(metrics)

    return steps


def _repeat(
    backend: Backend, kind: Kind, take: Step[State, Metrics], state: State, count: Int[Array, ""]
) -> tuple[State, Metrics]:
    if backend.driver == "chunks":
        return advance_up_to(take, state, count, kind.num_steps)
    return advance_many(take, state, kind.num_steps, backend.unroll) if backend.driver == "scan" else take(state)


class Programs:
    """The programs of a group of k networks. Seeds, data and hyperparameters are arguments: no value compiles again."""

    def __init__(self, recipe: Recipe, backend: Backend, strategy: Strategy, shapes: tuple[Any, Any, Any]) -> None:
        self.recipe, self.backend = recipe, backend
        self.strategy: Strategy = strategy
        self._start_shapes = shapes[:2]
        members, images, labels = shapes
        state, draws = jax.eval_shape(self._start, members, images)
        task = Task(images, labels, draws, members.hyper, members.selection)
        self.step_shapes = state, task, jax.ShapeDtypeStruct((), jnp.int32)
        self._compiled: dict[Any, Any] = {}
        self._launched: set[int | None] = set()  # sizes of images whose kernels the libraries have launched

    def lacks(self, kinds: Iterable[Kind]) -> list[Kind | None]:
        """Return which of the start (None) and these kinds of training programs are not compiled yet."""
        return [kind for kind in (None, *kinds) if kind not in self._compiled]

    def compile(self, kinds: Iterable[Kind]) -> None:
        """Compile the start and these kinds of training programs, unless they are compiled already."""
        wanted = self.lacks(kinds)
        if not wanted:  # the usual case: called before every call of a program
            return
        # The compiler works outside Python's lock, so programs compile while the next one is traced.
        with ThreadPoolExecutor(compilations_at_once(self.backend.platform)) as pool:
            compiling = {kind: pool.submit(self._compile, kind, self._lower(kind)) for kind in wanted}
        self._compiled |= {kind: future.result() for kind, future in compiling.items()}

    def unlaunched(self, kinds: Iterable[Kind]) -> set[int | None]:
        """Return the sizes of images of these kinds for which `launch_kernels` has something to do."""
        if not tries_options(self.backend.platform, self.backend.mesh):
            return set()
        return {kind.image_size for kind in kinds} - self._launched

    def launch_kernels(self, kinds: Iterable[Kind]) -> None:
        """Take a step of zeros as the compiler has it by default, for images of each size of these kinds, once.

        A CUDA graph cannot capture the first launch of a library's kernel, for which the library loads it. Without
        this, a process that finds its programs and its choice of kernels on disk, and so has launched nothing yet,
        fails with CUDNN_STATUS_EXECUTION_FAILED, or for want of a handle with "No DNN support for stream" (an H200,
        jax 0.11.2). Only where `tries_options` says so.
        """
        for size in self.unlaunched(kinds):
            lowered = self._lower(Kind((), 1, size))  # in which everything trains
            compiled = compile_lowered(lowered, self.backend.platform, self.backend.convolution)
            state, task, _ = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), self.step_shapes)
            jax.block_until_ready(compiled(state, task, jnp.ones((), jnp.int32)))
            self._launched.add(size)

    @property
    def start(self) -> Any:
        """(members, train_images) -> (state, draws)."""
        self.compile(())
        return self._compiled[None]

    def advance(self, kind: Kind) -> Any:
        """(state, task, count) -> (state, metrics): count steps; see `make_steps`."""
        self.compile((kind,))
        return self._compiled[kind]

    def variables(self, state: TrainState, *, averaged: bool) -> Variables:
        """Return the networks of a state, lookahead's average if averaged; of "sequential", the one without an axis."""
        pick = averaged_variables if averaged else variables_of
        if self.strategy != "sequential":
            return pick(state)
        if averaged not in self._compiled:
            first = jit_on(self.backend.mesh, lambda state: jax.tree.map(lambda one: one[0], pick(state)))
            lowered = first.lower(self.step_shapes[0])
            self._compiled[averaged] = self._compile(None, lowered)
        return self._compiled[averaged](state)

    def compiled(self) -> list[Any]:
        """Return every program compiled so far."""
        return list(self._compiled.values())

    def _start(self, members: Members, train_images: Array) -> Any:
        def start(member: Members, train_images: Array) -> tuple[TrainState, Any]:
            key, hyper, selection = member
            return start_run(self.recipe, self.backend, key, train_images, hyper, selection)

        return over_members(self.strategy, start, (True, False))(members, train_images)

    def _lower(self, kind: Kind | None) -> jax.stages.Lowered:
        mesh = self.backend.mesh
        if kind is None:
            return jit_on(mesh, over_devices(mesh, self._start)).lower(*self._start_shapes)
        steps = make_group_steps(self.recipe, self.backend, kind, self.strategy)
        return jit_on(mesh, over_devices(mesh, steps), donate_argnums=0).lower(*self.step_shapes)

    def _compile(self, kind: Kind | None, lowered: jax.stages.Lowered) -> jax.stages.Compiled | Tentative:
        # None: what runs once in a training.
        backend = self.backend
        if kind is None:
            once = self.strategy == "sequential"
            return compile_lowered(lowered, backend.platform, backend.convolution, once=once)
        return compile_repeated(lowered, backend.platform, backend.convolution, mesh=backend.mesh)


def programs_of(
    recipe: Recipe,
    backend: Backend,
    strategy: Strategy,
    arguments: tuple[Members, UInt8[Array, "n h w c"], Int[Array, " n"]],
) -> Programs:
    """Return the one set of programs for groups like these members, with these images and labels; not compiled yet."""
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), arguments)
    leaves, tree = jax.tree.flatten(shapes)
    return _programs_of(recipe.split()[0], backend, strategy, tuple(leaves), tree)


@compiled_once(maxsize=16)
def _programs_of(recipe: Recipe, backend: Backend, strategy: Strategy, leaves: tuple[Any, ...], tree: Any) -> Programs:
    return Programs(recipe, backend, strategy, jax.tree.unflatten(tree, leaves))
