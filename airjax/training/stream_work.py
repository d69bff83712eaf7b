"""What a training on a tree of images consists of, where it is between two steps, and its snapshots. (§9)"""

from collections.abc import Sequence
from typing import NamedTuple

from airjax.kernels.backend import Backend
from airjax.optim.hyperparameters import Hyperparameters
from airjax.recipes.recipe import Recipe
from airjax.stream.batches import Position
from airjax.stream.tree import Tree
from airjax.stream.views import TrainView
from airjax.training.environment import versions
from airjax.training.events import Callbacks, Clock
from airjax.training.loop import join
from airjax.training.snapshots import Keeping, Snapshot, Snapshots, snapshots_of
from airjax.training.step import StepMetrics, TrainState
from airjax.training.stream_data import Member

# Packages that make the pixels.
DECODERS = ("opencv-python-headless", "pillow", "simplejpeg")


class StreamWork(NamedTuple):
    """What a training of k networks on one tree consists of."""

    recipe: Recipe  # fitted to the tree, with its precision resolved
    backend: Backend
    tree: Tree
    members: Sequence[Member]
    view: TrainView  # what their batches show
    hyper: Hyperparameters  # each [k]
    workers: int
    called: Callbacks
    validate: bool
    keeping: Keeping
    snapshots: Snapshots | None


class Progress(NamedTuple):
    """Where a training is between two steps."""

    state: TrainState  # every array has an axis [k] in front
    history: list[StepMetrics]  # of all steps so far, each [k] or [k,s]
    steps_done: int
    batches: str  # a digest of what the batches depend on

    @property
    def position(self) -> Position:
        """Return where the next batch is."""
        return Position(self.steps_done, self.batches)


def open_snapshots(
    keeping: Keeping, recipe: Recipe, backend: Backend, members: Sequence[Member], tree: Tree, batches_of: int
) -> Snapshots | None:
    """Return the snapshots of the training of these networks on the batches of a seed, or None where none are kept."""
    others = () if batches_of == members[0].seed else (batches_of,)
    training = [recipe.to_dict(), list(members), *others, tree.fingerprint]
    return snapshots_of(keeping, backend, training, dict(versions(DECODERS)))


def save(work: StreamWork, progress: Progress, clock: Clock) -> None:
    """Take a snapshot between two steps, where any are kept; the time until the next stage is not counted."""
    clock.pause()
    if work.snapshots is not None:
        metrics, seconds = join(progress.history, len(work.members)), dict(clock.seconds)
        work.snapshots.save(Snapshot(progress.state, metrics, seconds, progress.position), progress.steps_done)
