"""Folders of images of one's own: what is read, what is passed over, and what is refused."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import airjax
from airjax.data import load_data
from airjax.data.cache import cache_folder
from airjax.data.folder import load_folder


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))


def write_image(file: Path, value: object, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(file)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight training and two test images of each of two classes; their red value is 100 * class + number."""
    place = tmp_path / "photos"
    for label, name in enumerate(("cat", "dog")):
        for number in range(8):
            write_image(place / "train" / name / f"{number}.png", (100 * label + number, 7, 0))
        for number in (20, 21):
            write_image(place / "test" / name / f"{number}.png", (100 * label + number, 7, 0))
    return place


def test_a_folder_for_each_class_is_a_data_set(photos: Path) -> None:
    data = load_data(photos)
    assert (data.name, data.classes, data.split, data.resized) == ("photos", ("cat", "dog"), "test", 0)
    assert data.train_images.shape == (16, 32, 32, 3)
    for images, labels, values in (
        (data.train_images, data.train_labels, [*range(8), *range(100, 108)]),
        (data.test_images, data.test_labels, [20, 21, 120, 121]),
    ):
        reds = images[:, 0, 0, 0]
        assert sorted(reds.tolist()) == values
        assert (labels == (reds >= 100)).all()
        assert (images[..., 1] == 7).all()
    assert len(set(data.train_labels[:8].tolist())) == 2, "the first examples are of all classes"


def test_the_second_load_comes_from_the_cache_and_is_the_same(photos: Path, tmp_path: Path) -> None:
    before = load_data(photos)
    [cached] = cache_folder().glob("own-*.safetensors")
    written = cached.stat().st_mtime_ns
    moved = shutil.move(photos, tmp_path / "moved")
    after = load_data(moved)
    assert cached.stat().st_mtime_ns == written
    assert (after.name, after.fingerprint, after.info.mean) == ("moved", before.fingerprint, before.info.mean)
    assert (after.classes, after.split, after.resized) == (before.classes, before.split, before.resized)


def test_changed_bytes_are_read_again_though_size_and_time_stay(photos: Path) -> None:
    file = photos / "train" / "cat" / "a.bmp"
    write_image(file, (50, 0, 0))
    before, status = load_data(photos), file.stat()
    write_image(file, (51, 0, 0))
    assert file.stat().st_size == status.st_size
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load_data(photos).fingerprint != before.fingerprint


def test_pictures_of_other_sizes_are_cropped_and_scaled(photos: Path) -> None:
    # 64x32: the left and right 16 columns are cut off.
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, :16] = wide[:, -16:] = 255
    Image.fromarray(wide).save(photos / "train" / "cat" / "wide.png")
    # Of 64x128 the rows above 32 and below 96 are cut off, and four pixels become one.
    tall = np.zeros((128, 64, 3), np.uint8)
    tall[:32] = tall[-32:] = 255
    tall[::2] += 100
    Image.fromarray(tall).save(photos / "train" / "cat" / "tall.png")
    data = load_data(photos)
    assert data.resized == 2
    found = {image.tobytes() for image in data.train_images}
    assert np.zeros((32, 32, 3), np.uint8).tobytes() in found
    assert np.full((32, 32, 3), 50, np.uint8).tobytes() in found
    larger = load_data(photos, image_size=48)
    assert (larger.train_images.shape, larger.resized) == ((18, 48, 48, 3), 22)


def test_grey_pictures_have_one_channel_only_if_all_are_grey(photos: Path) -> None:
    place = photos.with_name("grey")
    for split in ("train", "val"):
        for value, name in ((10, "one"), (200, "two")):
            write_image(place / split / name / "a.png", value, mode="L")
            write_image(place / split / name / "b.png", value > 100, mode="1")
    data = load_data(place)
    assert data.train_images.shape == (4, 32, 32, 1)
    assert sorted(data.train_images[:, 0, 0, 0].tolist()) == [0, 10, 200, 255]
    assert data.split == "validation"
    write_image(place / "val" / "one" / "c.png", (1, 2, 3))
    assert load_data(place).train_images.shape == (4, 32, 32, 3)


def test_what_is_no_image_is_passed_over(photos: Path) -> None:
    before = load_data(photos).fingerprint
    cats = photos / "train" / "cat"
    for name in ("notes.txt", ".hidden.png", "._0.png", "README", ".DS_Store"):
        (cats / name).write_text("no image")
    (photos / "train" / "labels.csv").write_text("0,1")
    (cats / ".git").mkdir()
    (cats / ".git" / "a.png").write_text("no image")
    (photos / "train" / ".ipynb_checkpoints").mkdir()
    assert load_data(photos).fingerprint == before
    write_image(cats / "more" / "deep.PNG", (9, 9, 9))
    assert len(load_data(photos).train_images) == 17


def remove(place: Path) -> None:
    shutil.rmtree(place)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: remove(p / "test"), r"photos has no folder test \(or val\); need train/CLASS/"),
        (lambda p: remove(p / "train"), "photos has no folder train; need train/CLASS/"),
        (lambda p: remove(p / "test" / "dog"), "class dog is in .*train, but not in .*test; both need a folder"),
        (lambda p: remove(p / "train" / "dog"), "class dog is in .*test, but not in .*train"),
        (
            lambda p: [remove(p / s / "dog") for s in ("train", "test")],
            "needs folders of at least two .* has cat$",
        ),
        (
            lambda p: [f.unlink() for f in (p / "test" / "cat").iterdir()],
            "test/cat has no images; remove the class",
        ),
        (
            lambda p: (p / "train" / "dog" / "3.png").write_bytes(b"x"),
            "dog/3.png cannot be read as an image: .*; mend",
        ),
        (lambda p: (p / "train" / "dog" / "new.HEIC").write_bytes(b"x"), "dog/new.HEIC cannot be read as an image"),
        (lambda p: (p / "train" / "dog" / "gone.png").symlink_to(p / "none"), "gone.png is no file that can be read"),
        (lambda p: os.mkfifo(p / "train" / "dog" / "pipe.png"), "pipe.png is no file that can be read"),
        (lambda p: write_image(p / "train" / "stray.png", 0), "train/stray.png is in no class; move it into a folder"),
        (lambda p: truncate(p / "test" / "cat" / "20.png"), "test/cat/20.png cannot be read as an image"),
    ],
)
def test_what_cannot_be_meant_is_refused(spoil: object, message: str, photos: Path) -> None:
    spoil(photos)  # pyright: ignore[reportCallIssue]
    with pytest.raises(airjax.DataError, match=message):
        load_data(photos)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:60])


def test_names_that_are_no_text_are_read(photos: Path) -> None:
    raw = os.fsencode(photos / "train" / "cat") + b"/\xff\xfe.png"
    shutil.copy(photos / "train" / "cat" / "0.png", raw)
    assert len(load_folder(photos).train_images) == 17
