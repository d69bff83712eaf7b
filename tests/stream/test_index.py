"""The index of a tree: what is in it, when it is made again, and what is refused."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tree_files import CLASSES, encode, make_pixels, side_lengths, write_tree

import airjax
from airjax.stream import mapped
from airjax.stream.index import open_index
from airjax.utils.extras import MissingExtraError

UNREADABLE = Path("/proc/self/mem")  # a file whose first bytes nobody can read


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


def test_the_index_has_names_labels_and_sizes_by_class_and_name(tree: Path) -> None:
    index = open_index(tree)
    assert (index.classes, index.skipped, index.place) == (CLASSES, (), tree)
    assert index.train.labels.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert index.val.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [index.train.name(example) for example in (0, 7, 20)] == [
        "train/n01/00.JPEG",
        "train/n02/07.JPEG",
        "train/n03/20.JPEG",
    ]
    assert index.val.name(5) == "val/n03/26.JPEG"
    assert index.train.sizes.tolist() == [list(side_lengths(number)) for number in range(21)]
    assert index.val.sizes[0].tolist() == list(side_lengths(21))


def test_names_that_are_no_text_and_deeper_folders_are_indexed(tree: Path) -> None:
    content = encode(make_pixels(0, 9, 8))
    raw = os.fsencode(tree / "train" / "n01") + b"/\xff\xfe.JPEG"
    Path(os.fsdecode(raw)).write_bytes(content)
    (tree / "val" / "n03" / "more").mkdir()
    (tree / "val" / "n03" / "more" / "a.png").write_bytes(content)
    index = open_index(tree)
    assert os.fsencode(tree / index.train.name(7)) == raw
    assert index.val.name(6) == "val/n03/more/a.png"
    assert index.val.sizes[6].tolist() == [9, 8]


def test_links_to_classes_and_files_are_followed_and_those_to_deeper_folders_are_not(tree: Path) -> None:
    (tree / "train" / "n02").rename(tree / "elsewhere")
    (tree / "train" / "n02").symlink_to(tree / "elsewhere")
    (tree / "train" / "n03" / "14.JPEG").rename(tree / "moved.JPEG")
    (tree / "train" / "n03" / "14.JPEG").symlink_to(tree / "moved.JPEG")
    (tree / "train" / "n01" / "all.jpg").symlink_to(tree / "train")  # would never end
    index = open_index(tree)
    assert len(index.train.labels) == 21
    assert index.train.name(14) == "train/n03/14.JPEG"
    assert index.train.lengths[14] == (tree / "moved.JPEG").stat().st_size


def test_it_is_made_once_and_again_when_the_tree_changes(tree: Path) -> None:
    first = open_index(tree)
    written = first.file.stat().st_ino
    assert open_index(tree).file.stat().st_ino == written
    (tree / "train" / "n02" / "08.JPEG").write_bytes(encode(make_pixels(0, 11, 12)))
    second = open_index(tree)
    assert second.file == first.file
    assert second.file.stat().st_ino != written
    assert second.train.sizes[8].tolist() == [11, 12]
    assert second.sha256 != first.sha256
    (tree / "val" / "n01" / "21.JPEG").rename(tree / "val" / "n01" / "zz.JPEG")
    assert open_index(tree).val.name(1) == "val/n01/zz.JPEG"


def test_a_damaged_index_is_named_and_made_again(tree: Path) -> None:
    index = open_index(tree)
    content = bytearray(index.file.read_bytes())
    content[-1] ^= 1
    index.file.write_bytes(content)
    with pytest.warns(UserWarning, match=r"tree-\w+.safetensors: the index is damaged \(its checksum is wrong\)"):
        assert open_index(tree).sha256 == index.sha256
    index.file.write_bytes(content[:-50])
    with pytest.warns(UserWarning, match=r"damaged .* bytes, but should have"):
        assert open_index(tree).sha256 == index.sha256


def test_a_cache_that_cannot_be_written_is_named(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        airjax.DataError, match=r"index cannot be written \(Not a directory\); .*AIRJAX_CACHE to another"
    ):
        open_index(tree)


def test_an_index_that_is_replaced_while_it_is_opened_is_the_old_one(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(tree)
    old, (other,) = index.file.read_bytes(), [index.file.with_name("other")]
    other.write_bytes(old[:-400] + bytes(400))
    parse = json.loads

    def replaced(text: bytes) -> object:
        if other.exists():
            other.replace(index.file)
        return parse(text)

    monkeypatch.setattr(mapped.json, "loads", replaced)
    arrays, metadata = mapped.map_arrays(index.file)
    assert mapped.arrays_digest(arrays) == metadata["sha256"]


def test_sizes_are_read_by_content_whatever_the_name(tree: Path) -> None:
    (tree / "val" / "n01" / "21.JPEG").write_bytes(encode(make_pixels(0, 17, 19), "PNG"))
    assert open_index(tree).val.sizes[0].tolist() == [17, 19]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: shutil.rmtree(p / "val"), r"tree has no folder test \(or val\); need train/CLASS/"),
        (lambda p: shutil.rmtree(p / "train"), "tree has no folder train; need train/CLASS/"),
        (lambda p: shutil.rmtree(p / "val" / "n02"), "class n02 is in .*train, but not in .*val; both need a folder"),
        (lambda p: shutil.rmtree(p / "train" / "n03"), "class n03 is in .*val, but not in .*train"),
        (
            lambda p: [file.unlink() for file in (p / "train" / "n02").iterdir()],
            "train/n02 has no images; remove the class, or put some there",
        ),
        (lambda p: (p / "train" / "n01" / "x.jpeg").write_bytes(b""), "n01/x.jpeg cannot be read as an image.*mend or"),
        (lambda p: (p / "train" / "n01" / "x.jpeg").write_text("no image"), "its format is unknown; mend or remove it"),
        (
            lambda p: (p / "val" / "n01" / "x.jpg").symlink_to(p / "none"),
            "x.jpg is no file that can be read; remove it",
        ),
        (lambda p: os.mkfifo(p / "val" / "n01" / "x.jpg"), "x.jpg is no file that can be read; remove it"),
        pytest.param(
            lambda p: (p / "val" / "n01" / "x.jpg").symlink_to(UNREADABLE),
            "x.jpg cannot be read as an image: Input/output error; mend or remove it",
            marks=pytest.mark.skipif(not UNREADABLE.exists(), reason="no file of /proc that cannot be read"),
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(spoil: object, message: str, tree: Path) -> None:
    spoil(tree)  # pyright: ignore[reportCallIssue]
    with pytest.raises(airjax.DataError, match=message):
        open_index(tree)


def test_files_that_cannot_be_decoded_are_left_out_by_name_where_that_is_asked_for(tree: Path) -> None:
    pytest.importorskip("simplejpeg")
    whole = (tree / "train" / "n02" / "09.JPEG").read_bytes()
    (tree / "train" / "n02" / "09.JPEG").write_bytes(whole[: len(whole) // 2])
    (tree / "val" / "n03" / "x.JPEG").write_text("no image")
    with pytest.warns(
        UserWarning, match=r"2 files of .*tree cannot be decoded and are left out: train/n02/09.JPEG, val"
    ):
        index = open_index(tree, "skip")
    assert index.skipped == ("train/n02/09.JPEG", "val/n03/x.JPEG")
    names = [index.train.name(example) for example in range(20)]
    assert len(index.train.labels) == 20
    assert "train/n02/09.JPEG" not in names
    assert names[8:10] == ["train/n02/08.JPEG", "train/n02/10.JPEG"]
    assert index.train.labels.tolist() == [0] * 7 + [1] * 6 + [2] * 7
    for file in (tree / "val" / "n01").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(airjax.DataError, match="class n01 of val has no image that can be decoded"):
        open_index(tree, "skip")


@pytest.mark.skipif(not UNREADABLE.exists(), reason="no file of /proc that cannot be read")
def test_a_file_that_cannot_be_read_now_is_never_left_out(tree: Path) -> None:
    pytest.importorskip("simplejpeg")
    (tree / "val" / "n01" / "x.jpg").symlink_to(UNREADABLE)
    with pytest.raises(airjax.DataError, match=r"x.jpg cannot be read: Input/output error; mend or remove it"):
        open_index(tree, "skip")


def test_a_test_folder_without_classes_leaves_the_place_to_val(tree: Path) -> None:
    (tree / "test").mkdir()  # as in ImageNet's own layout
    shutil.copy(tree / "val" / "n01" / "21.JPEG", tree / "test" / "ILSVRC2012_test_00000001.JPEG")
    assert open_index(tree).val.name(0) == "val/n01/21.JPEG"
    shutil.rmtree(tree / "val")
    with pytest.raises(airjax.DataError, match=r"ILSVRC2012_test_00000001.JPEG is in no class; move it into a folder"):
        open_index(tree)


def test_other_pixels_of_the_same_sizes_are_another_tree(tree: Path) -> None:
    before = open_index(tree)
    file = tree / "train" / "n01" / "00.JPEG"
    file.write_bytes(encode(make_pixels(9, *side_lengths(0)), quality=31))
    after = open_index(tree)
    assert np.array_equal(before.train.sizes, after.train.sizes)
    assert before.sha256 != after.sha256
    assert after.train.lengths[0] == file.stat().st_size


def test_a_missing_decoder_is_named_with_what_installs_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)  # cannot be imported
    with pytest.raises(
        MissingExtraError, match=r"needs simplejpeg, which cannot be .*pip install 'airjax\[imagenet\]'"
    ):
        open_index(tree, "skip")
    assert len(open_index(tree).train.labels) == 21


def test_the_real_tree_is_indexed(imagenet_jpeg: Path) -> None:
    index = open_index(imagenet_jpeg / "imagenette224")
    assert len(index.classes) == 10
    assert (len(index.train.labels), len(index.val.labels)) == (1850, 500)
    assert np.bincount(index.val.labels).tolist() == [50] * 10
    assert (index.train.sizes == 224).all()
