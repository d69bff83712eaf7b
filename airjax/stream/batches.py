"""Batches of images, made by Grain's worker processes and handed over in shared memory.

A batch is a function of its number alone. So they are the same for any number of workers, and a training that was
interrupted goes on at any batch, of whatever epoch: all that has to be remembered is how many there were.
"""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Int, UInt8

from airjax.data.dataset import DataError
from airjax.data.image_files import ImageError
from airjax.stream.decode import EXTRA, PURPOSE
from airjax.stream.images import Source, open_images
from airjax.stream.views import EvalView, Selection, TrainView
from airjax.utils.extras import import_extra

# Batches that wait in each worker's queue; as many again wait for it in the process that trains, and one is being made.
AHEAD = 1
ENDING = (signal.SIGINT, signal.SIGTERM)


class Batch(NamedTuple):
    """A batch as the host hands it over; the device mirrors it (`airjax.augment.transforms.mirror_where`)."""

    images: UInt8[np.ndarray, "b h w 3"]  # of the view's size; with a canvas whole images, at its top left
    labels: Int[np.ndarray, " b"]
    mirrors: Bool[np.ndarray, " b"]
    examples: Int[np.ndarray, " b"]  # their indices in the split
    boxes: Int[np.ndarray, "b 4"]  # what is shown of each: top, left, height, width


class Share(NamedTuple):
    """Which of equal parts of every batch is made: those of the processes of one training."""

    process: int = 0  # this one, from 0
    processes: int = 1  # how many

    def of(self, size: int) -> slice:
        """Return the part's places in a batch of so many examples. Raises ValueError where the parts are not equal."""
        if size % self.processes:
            raise ValueError(f"a batch has {size} examples, which {self.processes} processes cannot share equally")
        each = size // self.processes
        return slice(self.process * each, (self.process + 1) * each)


WHOLE = Share()


class Position(NamedTuple):
    """Where a training is: plain values, to be kept with a checkpoint."""

    step: int  # batches that were handed out
    sha256: str  # of what the batches depend on


@dataclass(frozen=True)
class BatchSource:
    """The batches of a view of a split by their numbers; what workers are handed."""

    source: Source
    view: TrainView | EvalView
    canvas: int | None = None  # pixels; None: the host cuts and resizes
    share: Share = WHOLE

    def __len__(self) -> int:
        return self.view.num_batches(len(open_images(self.source).labels))

    def __getitem__(self, step: int) -> Batch:
        images = open_images(self.source)
        chosen = self.view.select(images.sizes, int(step)).part(self.share.of(self.view.batch_size))
        fill = _resized if self.canvas is None else _whole
        pixels = fill(images.read, chosen, self.canvas or chosen.size)
        labels = np.ascontiguousarray(images.labels[chosen.examples])
        return Batch(pixels, labels, chosen.mirrors, chosen.examples, chosen.boxes)

    def digest(self) -> str:
        """Return a SHA-256 of what the batches depend on; their parts have that of the whole."""
        return hashlib.sha256(
            f"{self.source.sha256} {self.source.split} {self.view} {self.canvas}".encode()
        ).hexdigest()


class Batches:
    """An iterator over batches from a position on, with the processes that make them; to be closed, or in a `with`."""

    def __init__(self, batches: BatchSource, iterator: Any, step: int) -> None:
        self._batches, self._iterator, self._step, self._begun = batches, iterator, step, False

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            with contextlib.nullcontext() if self._begun else _signals_held_back():  # the processes start
                batch = next(self._iterator)
            self._begun = True
        except ImageError as error:
            raise DataError(str(error)) from error
        except RuntimeError as error:  # Grain's, of a process that is no more
            if "terminated unexpectedly" not in str(error):
                raise
            raise DataError(_describe_lost(str(error))) from error
        self._step += 1
        # Copied: shared memory, which is scarce and has a file descriptor an array, is free as soon as it was read.
        return Batch(*(np.array(part) for part in batch))

    def position(self) -> Position:
        """Return where the next batch is; `open_batches` goes on from there."""
        return Position(self._step, self._batches.digest())

    def close(self) -> None:
        """End the workers."""
        self._iterator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_batches(
    source: Source,
    view: TrainView | EvalView,
    *,
    workers: int = 0,
    canvas: int | None = None,
    position: Position | None = None,
    share: Share = WHOLE,
) -> Batches:
    """Start making the batches of a view.

    Args:
        source: the split.
        view: which examples a batch shows, and what of each.
        workers: processes that decode; 0 decodes in this one. They start afresh and import the main module: a script
            needs `if __name__ == "__main__":`.
        canvas: None: the host cuts and resizes. Pixels: images come whole, in the top left of squares of this size, for
            `airjax.augment.area.resize_boxes` on the device.
        position: where to go on; None: at the first batch.
        share: which part of every batch is made; of one that is not full, what it has at those places.

    Raises DataError where there is no whole batch, or the position is one of other batches; MissingExtraError where
    Grain or the decoder is not installed. An image that cannot be decoded is a DataError of the batch that needs it, as
    is a worker that was killed.
    """
    grain = require_packages()
    batches = BatchSource(source, view, canvas, share)
    _check(batches, position)
    start = position.step if position else 0
    if start == len(batches):
        return Batches(batches, (batch for batch in ()), start)
    dataset = grain.MapDataset.source(batches)[start:].to_iter_dataset(grain.ReadOptions(0, 0))
    workers = min(workers, len(batches) - start)
    if workers:
        _parse_no_flags()
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=AHEAD)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_start_worker)
    return Batches(batches, iter(dataset), start)


def require_packages() -> Any:
    """Return Grain. Raises MissingExtraError where it or a decoder is not installed."""
    grain, _, _ = (import_extra(name, EXTRA, PURPOSE) for name in ("grain", "cv2", "simplejpeg"))
    return grain


def _check(batches: BatchSource, position: Position | None) -> None:
    images, view = open_images(batches.source), batches.view
    if not len(batches):
        raise DataError(f"batch-size is {view.batch_size}, but there are {len(images.labels)} images; make it smaller")
    largest = int(images.sizes.max())
    if batches.canvas is not None and largest > batches.canvas:
        raise DataError(f"canvas is {batches.canvas}, but the largest image has {largest} pixels; make it larger")
    if position and position.sha256 != batches.digest():
        raise DataError(
            f"the position at batch {position.step:,} is one of other batches: of another tree, or with another batch "
            "size, seed, crop, flip or resolution; go on with what it was made with, or start again"
        )


def _parse_no_flags() -> None:
    # Grain has absl's flags, which nobody has parsed in a program that is not one of absl's; it reads one where JAX is
    # there.
    flags = import_extra("absl.flags", EXTRA, PURPOSE).FLAGS
    if not flags.is_parsed():
        flags.mark_as_parsed()


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    # A process that is started meanwhile has its signals held back, too: until it comes to ignore them, they would end
    # it. Ours come when this is over.
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started by the first process that is, it would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(number: int, count: int) -> None:
    del number, count
    # Ctrl-C at a terminal reaches every process, and a cluster's SIGTERM those of a job; the one that trains makes its
    # snapshot of what they still have to give, and ends them.
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import_extra("cv2", EXTRA, PURPOSE).setNumThreads(0)  # each worker has its core already


def _end_with_parent() -> None:
    # Grain's workers wait for ever for one that was killed, with their shared memory.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _describe_lost(reason: str) -> str:
    said, _, _ = reason.partition(".")
    return (
        f"a process that decodes images is lost ({said}): memory, or shared memory (/dev/shm; in a container "
        "--shm-size), may be short; take fewer --workers or smaller batches"
    )


def _resized(read: Any, chosen: Selection, size: int) -> UInt8[np.ndarray, "b size size 3"]:
    cv2 = import_extra("cv2", EXTRA, PURPOSE)
    pixels = np.empty((len(chosen.examples), size, size, 3), np.uint8)
    for into, example, (top, left, height, width) in zip(pixels, chosen.examples, chosen.boxes, strict=True):
        part = read(int(example))[top : top + height, left : left + width]
        cv2.resize(part, (size, size), dst=into, interpolation=cv2.INTER_AREA)
    return pixels


def _whole(read: Any, chosen: Selection, canvas: int) -> UInt8[np.ndarray, "b canvas canvas 3"]:
    pixels = np.zeros((len(chosen.examples), canvas, canvas, 3), np.uint8)
    for into, example in zip(pixels, chosen.examples, strict=True):
        image = read(int(example))
        into[: image.shape[0], : image.shape[1]] = image
    return pixels
