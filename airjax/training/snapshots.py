"""Snapshots of trainings on disk, from which another process resumes one that was stopped, to the same bits.

    DIR/DIGEST/STEP/...      written by orbax, completely or not at all; the last ones are kept
    DIR/DIGEST/about.json    a digest of what is trained, and how: devices, settings, versions

A snapshot is taken between two calls of a training program. What is random is drawn anew from the keys, so a snapshot
holds the state of the networks, the metrics so far and the seconds. The digest is of what the bits depend on: recipe,
members, data, how steps are called, devices, settings, versions. So a training never resumes from the snapshot of
another one. Two things are left out, so that work is not lost for them: the commit, and the number of threads, with
which the order of sums changes.
"""

import errno
import functools
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from airjax.data.dataset import Dataset
from airjax.kernels.backend import Backend
from airjax.recipes.recipe import Recipe
from airjax.training.arguments import check_count
from airjax.training.data_parallel import mesh_of, replicate
from airjax.training.environment import device_name, settings, versions
from airjax.training.members import Members, Strategy
from airjax.training.processes import arrays_from_first, first_does, is_first, several
from airjax.training.step import StepMetrics, TrainState
from airjax.utils.records import write_json

METRICS = np.float64  # on disk: exact for every precision
KEPT = 2  # the one before the last, too, in case the last is damaged
ABOUT = "about.json"


class StoppedError(Exception):
    """A training that was asked to stop, and has written a snapshot where it keeps any."""

    def __init__(self, steps_done: int, total_steps: int, *, kept: bool) -> None:
        self.steps_done, self.total_steps, self.kept = steps_done, total_steps, kept
        super().__init__(f"stopped after step {steps_done} of {total_steps}")

    def __reduce__(self) -> tuple[Any, ...]:
        # So that it comes back from another process: an exception is made again of its message alone.
        return functools.partial(StoppedError, kept=self.kept), (self.steps_done, self.total_steps)


class Snapshot(NamedTuple):
    """A group of k networks between two calls."""

    state: TrainState
    metrics: StepMetrics  # numpy arrays [k,t] of the steps done
    seconds: dict[str, float]  # of each stage so far, of this group
    # Where the batches of a tree of images are: how many were taken, and a digest of what they depend on.
    position: tuple[int, str] | None = None


class Keeping(NamedTuple):
    """Where and how often snapshots of trainings are taken, and when a training is to stop."""

    folder: str | os.PathLike[str] | None = None  # None: nowhere
    every: int = 1  # epochs, at least 1
    should_stop: Callable[[], bool] = lambda: False  # asked after every call
    # Handed what removes the snapshots of a training that is finished: to be called once its networks are kept.
    on_finished: Callable[[Callable[[], None]], None] = lambda clear: clear()


NOTHING_KEPT = Keeping()


class Snapshots:
    """The snapshots of one group of networks.

    One that cannot be read is passed over, and stays: it may be the disk that fails, or the memory.
    """

    def __init__(self, folder: Path, every: int, about: "About") -> None:
        self.folder, self.every, self.about = folder, every, about
        self._manager: Any = None

    def due(self, epoch: int) -> bool:
        """Return whether a snapshot is to be taken at the end of a 0-based epoch."""
        return (epoch + 1) % self.every == 0

    def save(self, snapshot: Snapshot, steps_done: int) -> None:
        """Write a snapshot, and wait until it is on disk. Of several processes, the first writes it. Raises OSError."""
        if several():
            snapshot = snapshot._replace(state=jax.device_get(snapshot.state))
        first_does(lambda: self._write(snapshot, steps_done))

    def _write(self, snapshot: Snapshot, steps_done: int) -> None:
        import orbax.checkpoint as ocp

        leaves = jax.tree.leaves(snapshot.state)
        arrays = {f"state_{number:04}": leaf for number, leaf in enumerate(leaves)}
        arrays |= {name: np.asarray(column, METRICS) for name, column in snapshot.metrics._asdict().items()}
        dtype = np.asarray(snapshot.metrics.loss).dtype.name
        facts = {"seconds": snapshot.seconds, "dtype": dtype}
        facts |= {} if snapshot.position is None else {"position": snapshot.position}
        manager = self._open()
        if not (self.folder / ABOUT).exists():
            write_json(self.folder / ABOUT, self.about._asdict())
        items = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), facts=ocp.args.JsonSave(facts))
        try:
            if steps_done in manager.all_steps():  # one that was passed over
                manager.delete(steps_done)
            manager.save(steps_done, args=items, force=True)
            manager.wait_until_finished()
        except ValueError as error:  # TensorStore's, of a full disk, too
            raise _os_error(error, self.folder) from error

    def restore(self, like: TrainState) -> Snapshot | None:
        """Return the newest snapshot that is complete, on the device, or None. like is a state of the same networks.

        Of several processes the first reads it, and the others have it from there.
        """
        return self._restore_together(like) if several() else self._newest(like)

    def _restore_together(self, like: TrainState) -> Snapshot | None:
        host = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        found: list[Snapshot | None] = [None]

        def look() -> Any:
            found[0] = self._newest(host)
            return found[0] and [found[0].metrics.loss.shape, str(found[0].metrics.loss.dtype), *found[0][2:]]

        facts = first_does(look)
        if facts is None:
            return None
        shape, dtype, seconds, position = facts
        metrics = StepMetrics(*(np.zeros(shape, dtype) for _ in StepMetrics._fields))
        position = None if position is None else (int(position[0]), str(position[1]))  # a list, from another process
        mine = found[0] or Snapshot(host, metrics, seconds, position)
        leaves, tree = jax.tree.flatten((mine.state, mine.metrics))
        state, metrics = jax.tree.unflatten(tree, arrays_from_first(leaves))
        return Snapshot(replicate(mesh_of(like.step), state), metrics, seconds, position)

    def _newest(self, like: TrainState) -> Snapshot | None:
        if not self.folder.exists():
            self._warn_of_others()
            return None
        for step in sorted(self._open().all_steps(), reverse=True):
            try:
                return self._read(step, like)
            except Exception as error:  # whatever a damaged file makes orbax raise
                warnings.warn(f"passing over the snapshot {self.folder}/{step}: {error}", stacklevel=3)
        return None

    def _warn_of_others(self) -> None:
        """Say where snapshots of the same training lie that only another machine or version can take up."""
        for file in sorted(self.folder.parent.glob(f"*/{ABOUT}")):
            try:
                other = About(**json.loads(file.read_text()))
            except (OSError, ValueError, TypeError):
                continue  # damaged, or of another version: nobody can tell what it is of
            if other.training == self.about.training:
                differences = ", ".join(_differences(other.how, self.about.how))
                warnings.warn(
                    f"{file.parent} has snapshots of this training, made with {differences}: it starts anew, since it "
                    "would not end in the same bits; go on with them there, or remove them",
                    stacklevel=3,
                )

    @property
    def result(self) -> Path:
        """Where the result of the group is kept while others train (`airjax.training.group_results`)."""
        return self.folder.with_name(f"{self.folder.name}.safetensors")

    def clear(self) -> None:
        """Remove all snapshots: their training is finished."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None
        if is_first():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.result.unlink(missing_ok=True)

    def _read(self, step: int, like: TrainState) -> Snapshot:
        import orbax.checkpoint as ocp

        leaves, tree = jax.tree.flatten(like)
        template: dict[str, Any] = {
            f"state_{number:04}": leaf
            if isinstance(leaf, np.ndarray)
            else jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
            for number, leaf in enumerate(leaves)
        }
        template |= {name: np.zeros((len(like.step), step), METRICS) for name in StepMetrics._fields}
        items = ocp.args.Composite(arrays=ocp.args.StandardRestore(template), facts=ocp.args.JsonRestore())
        found = self._open().restore(step, args=items)
        arrays, facts = found["arrays"], found["facts"]
        state = jax.tree.unflatten(tree, [arrays[f"state_{number:04}"] for number in range(len(leaves))])
        metrics = StepMetrics(*(np.asarray(arrays[name], facts["dtype"]) for name in StepMetrics._fields))
        position = tuple(facts["position"]) if "position" in facts else None
        return Snapshot(state, metrics, facts["seconds"], position)

    def _open(self) -> Any:
        import orbax.checkpoint as ocp

        if self._manager is None:
            how: dict[str, Any] = {"create": True}
            if several():  # or orbax waits for the others
                self.folder.mkdir(parents=True, exist_ok=True)
                alone = {"primary_host": 0, "active_processes": {0}, "barrier_sync_key_prefix": "airjax"}
                how = {"create": False, "multiprocessing_options": ocp.options.MultiprocessingOptions(**alone)}
            options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False, **how)
            self._manager = ocp.CheckpointManager(self.folder.resolve(), options=options)
        return self._manager


class About(NamedTuple):
    """What the bits of a training depend on."""

    training: str  # digest of recipe, members and data
    how: dict[str, Any]  # devices, settings and versions by name, for JSON


def _os_error(error: ValueError, folder: Path) -> OSError:
    number = re.search(r"os_error_code='(\d+)'", str(error))
    code = int(number[1]) if number else errno.EIO
    return OSError(code, f"a snapshot cannot be written: {os.strerror(code)}", str(folder))


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    names = [name for name in then | now if then.get(name) != now.get(name)]
    return [f"{name} {then.get(name)} (here: {now.get(name)})" for name in names]


def open_snapshots(
    keeping: Keeping, recipe: Recipe, backend: Backend, strategy: Strategy, members: Members, data: Dataset
) -> Snapshots | None:
    """Return the snapshots of the training of these members on this data, or None where none are kept."""
    how = {"driver": backend.driver, "unroll": backend.unroll, "strategy": strategy}
    arrays = jax.random.key_data(members.keys), *jax.tree.leaves((members.hyper, members.selection))
    return snapshots_of(keeping, backend, [recipe.to_dict(), data.fingerprint], how, arrays)


def snapshots_of(
    keeping: Keeping, backend: Backend, training: list[Any], how: dict[str, Any], arrays: Iterable[Any] = ()
) -> Snapshots | None:
    """Return the snapshots of what is trained, values for JSON and arrays, in a way that has these names.

    None where none are kept. Raises TypeError for a folder that is no path, and ValueError for an interval below 1.
    """
    if keeping.folder is None:
        return None
    if not isinstance(keeping.folder, str | os.PathLike):
        raise TypeError(f"keeping.folder is {keeping.folder!r}, but it must be a path")
    every = check_count("keeping.every", keeping.every)
    digest = hashlib.sha256(json.dumps(training, sort_keys=True, default=str).encode())
    for array in arrays:
        digest.update(np.asarray(array).tobytes())
    mesh = backend.mesh
    how = {"device": device_name(), "devices": jax.device_count(), "convolution": backend.convolution} | how
    how |= {} if mesh is None else {"devices of a network": mesh.size, "processes": jax.process_count()}
    # As it is read again from JSON.
    about = About(digest.hexdigest(), json.loads(json.dumps(settings() | versions() | how)))
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return Snapshots(Path(keeping.folder) / name, every, about)
