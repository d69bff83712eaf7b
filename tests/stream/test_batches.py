"""Batches are functions of their number: whoever makes them, and wherever a training goes on."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from tree_files import side_lengths, write_tree

import airjax
from airjax.augment.area import resize_boxes
from airjax.augment.transforms import mirror_where
from airjax.stream.batches import Batch, Position, Share, open_batches
from airjax.stream.decode import decode_file
from airjax.stream.images import Source, open_images, split_of
from airjax.stream.index import open_index
from airjax.stream.views import EvalView, TrainView

cv2 = pytest.importorskip("cv2")
for package in ("grain", "simplejpeg"):
    pytest.importorskip(package)

VIEW = TrainView(batch_size=4, sizes=(16, 24), seed=5, flip="alternating-hash")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("batches") / "tree")


@pytest.fixture
def train(tree: Path) -> Source:
    return split_of(open_index(tree), "train")


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_epoch_shows_each_example_once_at_its_resolution(train: Source) -> None:
    batches = list(open_batches(train, VIEW))
    assert [batch.images.shape for batch in batches] == [(4, 16, 16, 3)] * 5 + [(4, 24, 24, 3)] * 5
    epochs = [np.concatenate([batch.examples for batch in batches[start : start + 5]]) for start in (0, 5)]
    assert all(len(set(epoch.tolist())) == 20 for epoch in epochs)
    assert not np.array_equal(*epochs)
    for batch in batches:
        assert (batch.labels == batch.examples // 7).all()


def test_an_image_is_its_box_of_the_file_resized_by_area(train: Source, tree: Path) -> None:
    batch = next(open_batches(train, VIEW))
    for image, example, (top, left, height, width) in zip(batch.images, batch.examples, batch.boxes, strict=True):
        file = tree / "train" / f"n0{example // 7 + 1}" / f"{example:02}.JPEG"
        part = decode_file(file)[top : top + height, left : left + width]
        assert part.shape == (height, width, 3)
        assert np.array_equal(image, cv2.resize(part, (16, 16), interpolation=cv2.INTER_AREA))


def test_alternating_flips_show_both_sides_in_two_epochs(train: Source) -> None:
    batches = list(open_batches(train, VIEW))
    shown = [{}, {}]
    for number, batch in enumerate(batches):
        shown[number // 5] |= dict(zip(batch.examples.tolist(), batch.mirrors.tolist(), strict=True))
    both = shown[0].keys() & shown[1].keys()
    assert len(both) >= 19
    assert all(shown[0][example] != shown[1][example] for example in both)
    assert 0 < sum(shown[0].values()) < 20


def test_workers_and_a_fresh_start_in_the_middle_of_an_epoch_give_the_same_bits(train: Source) -> None:
    alone = list(open_batches(train, VIEW))
    with open_batches(train, VIEW, workers=2) as batches:
        begun = [next(batches) for _ in range(7)]
        position = json.loads(json.dumps(batches.position()))
    assert all(map(same, alone[:7], begun))
    position = Position(*position)
    assert position.step == 7
    # Another number of workers goes on where two were.
    rest = list(open_batches(train, VIEW, position=position))
    assert len(rest) == 3
    assert all(map(same, alone[7:], rest))
    other = list(open_batches(train, TrainView(4, (16, 24), seed=6, flip="alternating-hash")))
    assert not any(map(same, alone, other))


def test_signals_of_a_job_leave_workers_to_the_process_that_trains(train: Source) -> None:
    alone = list(open_batches(train, VIEW))
    with open_batches(train, VIEW, workers=1) as batches:
        found = [next(batches)]
        for each in (signal.SIGTERM, signal.SIGINT):
            os.kill(the_worker().pid or 0, each)
        found += list(batches)
    assert all(map(same, alone, found))


def test_signals_while_a_worker_starts_leave_it_too(train: Source) -> None:
    alone, sent = list(open_batches(train, VIEW)), []

    def signal_it() -> None:
        while not sent:
            for child in multiprocessing.active_children():
                if "grain" in child.name and child.pid:
                    for each in (signal.SIGTERM, signal.SIGINT):
                        os.kill(child.pid, each)
                        sent.append(each)

    watcher = threading.Thread(target=signal_it)
    watcher.start()
    with open_batches(train, VIEW, workers=1) as batches:
        found = list(batches)
    watcher.join()
    assert all(map(same, alone, found))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_a_worker_that_is_lost_is_an_error_with_a_remedy(train: Source) -> None:
    with open_batches(train, VIEW, workers=1) as batches:
        next(batches)
        the_worker().kill()
        with pytest.raises(
            airjax.DataError, match=r"is lost \(.*exit code -9\).*--shm-size.*fewer --workers or smaller"
        ):
            list(batches)


def test_there_are_no_more_workers_than_batches(train: Source) -> None:
    with open_batches(train, TrainView(batch_size=20, sizes=(16,)), workers=3) as batches:
        assert len(list(batches)) == 1
        assert len([child for child in multiprocessing.active_children() if "grain" in child.name]) <= 1


def the_worker() -> BaseProcess:
    """The one process that decodes."""
    (worker,) = (child for child in multiprocessing.active_children() if "grain" in child.name)
    return worker


def test_workers_end_with_a_process_that_is_killed(train: Source, tmp_path: Path) -> None:
    script = tmp_path / "reads.py"
    script.write_text(
        "import multiprocessing, time\n"
        "from pathlib import Path\n"
        "from airjax.stream.batches import open_batches\n"
        "from airjax.stream.images import Source\n"
        "from airjax.stream.views import TrainView\n"
        "if __name__ == '__main__':\n"
        f"    source = Source(Path({str(train.file)!r}), {train.sha256!r}, 'train')\n"
        "    batches = open_batches(source, TrainView(4, (16,)), workers=1)\n"
        "    next(batches)\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as reader:
        assert reader.stdout is not None
        worker = int(reader.stdout.readline())
        assert is_running(worker)
        reader.kill()
    give_up = time.monotonic() + 60
    while is_running(worker):
        assert time.monotonic() < give_up, "the worker goes on without anybody to read from it"
        time.sleep(0.1)


def is_running(process: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_a_training_that_was_at_its_end_has_no_batch_left(train: Source) -> None:
    batches = open_batches(train, VIEW)
    assert len(list(batches)) == 10
    with open_batches(train, VIEW, position=batches.position()) as rest:
        assert list(rest) == []


def test_a_test_shows_all_examples_in_order_and_the_square_in_the_middle(tree: Path) -> None:
    source = split_of(open_index(tree), "val")
    batches = list(open_batches(source, EvalView(batch_size=4, size=20, fraction=0.875)))
    assert [len(batch.labels) for batch in batches] == [4, 2]
    assert np.concatenate([batch.examples for batch in batches]).tolist() == list(range(6))
    height, width = side_lengths(21)
    side = int(0.875 * min(height, width))
    assert batches[0].boxes[0].tolist() == [(height - side) // 2, (width - side) // 2, side, side]
    assert not batches[0].mirrors.any()


def test_whole_images_are_in_the_corner_of_a_canvas(train: Source) -> None:
    images = open_images(train)
    largest = int(images.sizes.max())
    batch = next(open_batches(train, VIEW, canvas=largest))
    assert batch.images.shape == (4, largest, largest, 3)
    for image, example in zip(batch.images, batch.examples, strict=True):
        height, width = images.sizes[example]
        assert np.array_equal(image[:height, :width], images.read(int(example)))
        assert not image[height:].any()
        assert not image[:, width:].any()
    with pytest.raises(
        airjax.DataError, match=f"canvas is 60, but the largest image has {largest} pixels; make it larger"
    ):
        open_batches(train, VIEW, canvas=60)


def test_the_device_makes_of_whole_images_what_the_host_makes(train: Source) -> None:
    for here, whole in zip(open_batches(train, VIEW), open_batches(train, VIEW, canvas=68), strict=True):
        assert np.array_equal(here.boxes, whole.boxes)
        size = here.images.shape[1]
        found = np.asarray(resize_boxes(*map(jnp.asarray, (whole.images, whole.boxes, whole.mirrors)), size))
        wanted = np.asarray(mirror_where(jnp.asarray(here.images), jnp.asarray(here.mirrors)))
        assert np.abs(found.astype(int) - wanted).max() <= 1


def test_the_parts_of_processes_are_the_batches(train: Source, tree: Path) -> None:
    last = EvalView(batch_size=8, size=16, fraction=0.875)  # of six images: the second process has two of them
    for source, view in ((train, VIEW), (split_of(open_index(tree), "val"), last)):
        whole, parts = (
            list(open_batches(source, view)),
            [list(open_batches(source, view, workers=process, share=Share(process, 2))) for process in (0, 1)],
        )
        joined = [Batch(*map(np.concatenate, zip(*both, strict=True))) for both in zip(*parts, strict=True)]
        assert all(same(one, other) for one, other in zip(whole, joined, strict=True))
        sizes = [len(batch.labels) for batch in parts[1]]
        assert sizes == ([2] * len(sizes))
    # Of a last batch of two in places for four, the second process has none.
    *_, empty = open_batches(split_of(open_index(tree), "val"), EvalView(4, 16, 0.875), workers=1, share=Share(1, 2))
    assert empty.images.shape == (0, 16, 16, 3)
    with open_batches(train, VIEW, share=Share(1, 2)) as part, open_batches(train, VIEW) as all_of_it:
        assert part.position() == all_of_it.position()
    with pytest.raises(ValueError, match="a batch has 4 examples, which 3 processes cannot share equally"):
        Share(0, 3).of(4)


def test_positions_of_other_batches_are_refused(train: Source) -> None:
    position = open_batches(train, VIEW).position()
    for other in (TrainView(4, (16, 24), seed=6), TrainView(5, (16, 24), seed=5), TrainView(4, (16,), seed=5)):
        with pytest.raises(airjax.DataError, match=r"position at batch 0 is one of other batches.*start again"):
            open_batches(train, other, position=position)
    with pytest.raises(airjax.DataError, match="batch-size is 22, but there are 21 images; make it smaller"):
        open_batches(train, TrainView(22, (16,)))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_decoded_ends_the_training_with_its_name(workers: int, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    file = tree / "train" / "n02" / "09.JPEG"
    file.write_bytes(file.read_bytes()[:-40])
    source = split_of(open_index(tree), "train")
    with (
        open_batches(source, TrainView(21, (16,)), workers=workers) as batches,
        pytest.raises(
            airjax.DataError, match=r"n02/09.JPEG cannot be decoded: Premature end of JPEG file; mend or remove"
        ),
    ):
        next(batches)


def test_an_image_that_changed_its_size_is_named(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    source = split_of(open_index(tree), "train")
    (tree / "train" / "n01" / "00.JPEG").write_bytes((tree / "train" / "n01" / "01.JPEG").read_bytes())
    with pytest.raises(
        airjax.DataError, match=r"00.JPEG is 41x47 pixels, but was 30x40 when the tree was indexed; start"
    ):
        next(open_batches(source, TrainView(21, (16,))))
    open_index(tree)
    with pytest.raises(airjax.DataError, match="has been made again since it was opened; open it again"):
        open_images.__wrapped__(source)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "batch-size is 0, but it must be a whole number from 1"),
        ({"sizes": ()}, "sizes is .*one for each epoch"),
        ({"seed": -1}, "seed is -1"),
        ({"crop": "round"}, "crop is 'round', but it must be one of heavy, light, light-shift"),
        ({"flip": "up"}, "flip is 'up', but it must be one of none, random, alternating-hash"),
    ],
)
def test_views_name_what_is_wrong(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainView(**{"batch_size": 4, "sizes": (16,), **fields})
