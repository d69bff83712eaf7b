"""Prepared splits: the same examples in one file, checked, and written whole or not at all."""

import os
import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tree_files import write_tree

import airjax
from airjax.stream import prepared
from airjax.stream import tree as stream_tree
from airjax.stream.batches import open_batches
from airjax.stream.images import Source, open_images, split_of
from airjax.stream.index import open_index
from airjax.stream.prepared import Form, bytes_needed, contents_of, open_prepared, prepare, verify_prepared
from airjax.stream.tree import open_tree, prepare_tree
from airjax.stream.views import TrainView
from airjax.utils.records import lock_folder

cv2 = pytest.importorskip("cv2")
for package in ("grain", "simplejpeg"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("prepared") / "tree")


@pytest.fixture
def train(tree: Path) -> Source:
    return split_of(open_index(tree), "train")


def test_raw_images_are_resized_once_and_read_back_to_the_bit(train: Source, tmp_path: Path) -> None:
    before = open_images(train)
    source = prepare(train, tmp_path / "train.raw", Form(longest=50, kind="raw"))
    assert open_prepared(tmp_path / "train.raw") == source
    verify_prepared(source)
    after = open_images(source)
    assert np.array_equal(before.labels, after.labels)
    for example, (height, width) in enumerate(before.sizes.tolist()):
        pixels = before.read(example)
        if max(height, width) > 50:
            size = (round(width * 50 / max(height, width)), round(height * 50 / max(height, width)))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        assert np.array_equal(after.read(example), pixels)
        assert tuple(after.sizes[example]) == pixels.shape[:2]


def test_jpeg_takes_less_and_shows_the_same(train: Source, tmp_path: Path) -> None:
    raw, jpeg = (prepare(train, tmp_path / kind, Form(longest=50, kind=kind)) for kind in ("raw", "jpeg"))
    assert jpeg.file.stat().st_size < raw.file.stat().st_size / 2
    for example in range(21):
        difference = open_images(raw).read(example).astype(int) - open_images(jpeg).read(example)
        assert np.abs(difference).mean() < 4


def test_batches_of_a_prepared_split_are_those_of_the_tree_where_nothing_is_resized(
    train: Source, tmp_path: Path
) -> None:
    view = TrainView(7, (16,), crop="light-shift")
    prepared = prepare(train, tmp_path / "train.raw", Form(longest=100, kind="raw"))
    for one, other in zip(open_batches(train, view), open_batches(prepared, view, workers=1), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_other_programs_read_the_file(train: Source, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    source = prepare(train, tmp_path / "train.safetensors", Form(longest=50, kind="raw"))
    arrays = load_file(source.file)
    assert set(arrays) == {"ends", "sizes", "labels", "records"}
    assert arrays["labels"].tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert arrays["ends"][-1] == len(arrays["records"])


def test_a_prepared_tree_is_the_tree_with_other_pixels(tree: Path, tmp_path: Path) -> None:
    before, told = open_tree(tree), []
    after = prepare_tree(before, tmp_path / "small", Form(longest=30), told.append)
    assert open_tree(tmp_path / "small").fingerprint == after.fingerprint != before.fingerprint
    assert (after.name, after.classes, after.split) == ("small", before.classes, "validation")
    assert np.array_equal(after.train_labels, before.train_labels)
    assert np.array_equal(after.val_labels, before.val_labels)
    assert open_images(after.val).sizes.max() == 30
    assert told == [21, 27]
    other = prepare_tree(before, tmp_path / "other", Form(longest=30, quality=80))
    assert other.fingerprint != after.fingerprint


def test_a_split_is_prepared_again_where_its_records_are_damaged_or_its_files_were_written_again(
    tree: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "small"
    first = prepare_tree(open_tree(tree), folder, Form(longest=30))
    file = folder / "train.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert prepare_tree(open_tree(tree), folder, Form(longest=30)).fingerprint == first.fingerprint
    assert file.read_bytes() == content
    # As long as before: only the time of change says that it is another one. Nothing else depends on that.
    image = next((tree / "train").rglob("*.JPEG"))
    os.utime(image, ns=(0, 1_000_000_000))
    before = file.stat().st_ino
    assert prepare_tree(open_tree(tree), folder, Form(longest=30)).fingerprint == first.fingerprint
    assert file.stat().st_ino != before
    after = file.stat().st_ino
    prepare_tree(open_tree(tree), folder, Form(longest=30))
    assert file.stat().st_ino == after


def test_a_folder_that_is_no_whole_tree_is_refused(tree: Path, train: Source, tmp_path: Path) -> None:
    with pytest.raises(airjax.DataError, match="is the tree itself; name another folder"):
        prepare_tree(open_tree(tree), tree)
    prepare_tree(open_tree(tree), tmp_path, Form(longest=30))
    prepare(train, tmp_path / "val.safetensors", Form(longest=30), {"classes": ["a", "b"]})
    with pytest.raises(airjax.DataError, match="has splits of different trees; airjax data prepare writes both"):
        open_tree(tmp_path)
    (tmp_path / "val.safetensors").unlink()
    with pytest.raises(airjax.DataError, match=r"has no val\.safetensors; airjax data prepare writes both splits"):
        open_tree(tmp_path)


def test_what_is_said_of_a_split_may_be_long(train: Source, tmp_path: Path) -> None:
    said = {"classes": [f'a "class" of number {number}' for number in range(3000)]}
    assert contents_of(prepare(train, tmp_path / "train.raw", Form(longest=30), said)) == said


def test_damage_is_noticed(train: Source, tmp_path: Path) -> None:
    source = prepare(train, tmp_path / "train.raw", Form(longest=50, kind="raw"))
    content = source.file.read_bytes()
    source.file.write_bytes(content[:-1])
    with pytest.raises(airjax.DataError, match=r"train.raw is damaged.* bytes, but should have .*; remove it"):
        open_prepared(source.file)
    source.file.write_bytes(content[:4100] + b"\7" + content[4101:])
    with pytest.raises(airjax.DataError, match=r"train.raw is damaged: its checksum is wrong; prepare it again"):
        open_prepared(source.file)
    source.file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(airjax.DataError, match="the checksum of its records is wrong; prepare it again"):
        verify_prepared(open_prepared(source.file))
    with pytest.raises(airjax.DataError, match=r"none cannot be read: No such file"):
        open_prepared(tmp_path / "none")
    with pytest.raises(airjax.DataError, match=r"tree-\w+.safetensors is not a prepared split; make it with"):
        open_prepared(train.file)


def test_no_space_is_said_before_anything_is_written(
    train: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    with pytest.raises(
        airjax.DataError, match=r"no room for train.raw: take another disk, .*; it takes .* 1.0 kB are free"
    ):
        prepare(train, tmp_path / "train.raw", Form(kind="raw"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_what_was_there(train: Source, tmp_path: Path) -> None:
    (tmp_path / "train.jpeg").write_text("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))  # for a write that fails half-way
    try:
        with pytest.raises(airjax.DataError, match=r"has no room for train.jpeg: take another disk, kind jpeg, or"):
            prepare(train, tmp_path / "train.jpeg")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in tmp_path.iterdir()] == ["train.jpeg"]
    assert (tmp_path / "train.jpeg").read_text() == "before"
    with pytest.raises(airjax.DataError, match=r"train.jpeg cannot be written: No such file"):
        prepare(train, tmp_path / "none" / "train.jpeg")


def test_the_room_for_both_splits_is_asked_for_before_either_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = open_tree(write_tree(tmp_path / "tree"))
    sizes = [bytes_needed(open_images(source), Form(kind="raw")) for source in (tree.train, tree.val)]
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=sizes[0] + 1))
    with pytest.raises(airjax.DataError, match=r"has no room for train.safetensors"):
        prepare_tree(tree, tmp_path / "made", Form(kind="raw"))
    assert {file.name for file in (tmp_path / "made").iterdir()} <= {"lock"}


def test_what_a_killed_process_left_is_written_over_and_one_at_work_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, made = open_tree(write_tree(tmp_path / "tree")), tmp_path / "made"
    made.mkdir()
    (made / ".train.safetensors.part").write_bytes(b"half")
    right = prepared.require_space

    def require_space(target: Path, needed: int) -> None:
        assert not list(target.parent.glob(".*.part"))  # which would take the room
        right(target, needed)

    for module in (stream_tree, prepared):
        monkeypatch.setattr(module, "require_space", require_space)
    with lock_folder(made), pytest.raises(airjax.DataError, match=r"another process is writing to .*made; wait for it"):
        prepare_tree(tree, made)
    prepare_tree(tree, made)
    assert {file.name for file in made.iterdir()} == {"lock", "train.safetensors", "val.safetensors"}


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    file = tree / "train" / "n03" / "20.JPEG"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(airjax.DataError, match=r"n03/20.JPEG cannot be decoded"):
        prepare(split_of(open_index(tree), "train"), tmp_path / "train.jpeg")
    assert not (tmp_path / "train.jpeg").exists()
