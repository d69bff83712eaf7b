"""An .npz of one's own arrays: Keras' names, every kind of labels, and what is refused."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import Hostile

import airjax
from airjax.data import load_data


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))


def arrays() -> dict[str, Any]:
    """Twelve training and six test images, grey, 28x28, of three classes."""
    drawn = np.random.default_rng(0)
    return {
        "x_train": drawn.integers(0, 256, (12, 28, 28), np.uint8),
        "y_train": np.arange(12, dtype=np.uint8) % 3,
        "x_test": drawn.integers(0, 256, (6, 28, 28), np.uint8),
        "y_test": np.arange(6, dtype=np.int64) % 3,
    }


def write(file: Path, **changes: Any) -> Path:
    np.savez(file, **{name: array for name, array in (arrays() | changes).items() if array is not None})
    return file


def test_grey_images_without_a_channel_get_one_and_keep_their_size(tmp_path: Path) -> None:
    data = load_data(write(tmp_path / "digits.npz"))
    assert (data.name, data.classes, data.resized) == ("digits", ("0", "1", "2"), 0)
    assert data.train_images.shape == (12, 28, 28, 1)
    np.testing.assert_array_equal(data.train_images[..., 0], arrays()["x_train"])
    assert data.test_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.test_labels.dtype == np.int32


def test_colours_labels_in_a_column_and_names_of_classes(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, 20, 20, 3), np.uint8)
    labels = np.array([[0], [1]] * 3)
    changes = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels, "classes": ["no", "yes"]}
    data = load_data(write(tmp_path / "colours.npz", **changes))
    assert data.train_labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert (data.classes, data.info.channels, data.info.image_size) == (("no", "yes"), 3, 20)


def test_images_are_scaled_only_when_asked_for(tmp_path: Path) -> None:
    half = np.zeros((12, 28, 56), np.uint8)
    half[:, :, 14:28] = 100  # of the middle square, the left half
    file = write(tmp_path / "wide.npz", x_train=half, x_test=half[:6])
    with pytest.raises(airjax.DataError, match=r"\(12, 28, 56, 1\); need .*square"):
        load_data(file)
    data = load_data(file, image_size=14)
    assert (data.train_images.shape, data.resized) == ((12, 14, 14, 1), 18)
    assert data.train_images[0, 0, :, 0].tolist() == [100] * 7 + [0] * 7
    assert load_data(file, image_size=14).fingerprint == data.fingerprint
    assert load_data(write(tmp_path / "square.npz"), image_size=28).resized == 0


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    created = tmp_path / "created"
    file = write(tmp_path / "hostile.npz", y_train=np.array([Hostile(created)] * 12, object))
    with pytest.raises(airjax.DataError, match=r"hostile.npz is no .npz of plain arrays, or is damaged: Object arrays"):
        load_data(file)
    assert not created.exists()
    np.load(file, allow_pickle=True)["y_train"]
    assert created.exists(), "the array of this test is not hostile at all"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, "has no array x_test, but x_train, y_test, y_train; need x_train, y_train, x_test, y_test"),
        ({"x_train": arrays()["x_train"] / 255}, "train images are float64"),
        (
            {"y_train": np.eye(3)[arrays()["y_train"]]},
            r"y_train is float64 \(12, 3\); need a whole number for each image",
        ),
        ({"y_train": arrays()["y_train"] - np.int64(1)}, "y_train has a label -1; need them from 0"),
        ({"y_train": arrays()["y_train"][:5]}, r"train labels are int32 \(5,\); need 12 whole numbers"),
        ({"y_test": np.array([0, 1, 2, 0, 1, 7])}, "label 7 is in y_test, but not in y_train; both need every class"),
        ({"y_test": np.array([0, 1, 1, 0, 1, 0])}, "label 2 is in y_train, but not in y_test"),
        ({"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)}, "there is one class only, '0'; need at least 2"),
        ({"x_train": np.zeros((12, 3, 28, 28), np.uint8)}, "channels first; need"),
        ({"classes": ["a", "b"]}, r"labels must lie in \[0, 2\)"),
        ({"classes": ["a", "b", "a"]}, "must be different names"),
        ({name: array[:0] for name, array in arrays().items()}, "x_train has no images"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(airjax.DataError, match=message):
        load_data(write(tmp_path / "bad.npz", **changes))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "cut.npz")
    content = file.read_bytes()
    for part in (b"", b"text", content[:1000], content[: len(content) // 2] + content[len(content) // 2 + 9 :]):
        file.write_bytes(part)
        with pytest.raises(airjax.DataError, match=r"cut.npz is no \.npz of plain arrays, or is damaged"):
            load_data(file)
    # The checksum of an array of several blocks is known after its head has been read.
    content = write(file, x_train=np.zeros((12, 32, 32, 3), np.uint8)).read_bytes()
    for wrong in (b"(descr'", b"{'descr(", b"{'descr\n"):
        file.write_bytes(content.replace(b"{'descr'", wrong))
        with pytest.raises(airjax.DataError, match=r"cut.npz is no \.npz of plain arrays, or is damaged"):
            load_data(file)
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(file)
    with pytest.raises(airjax.DataError, match=r"cut.npz is no \.npz of plain arrays"):
        load_data(file)


def test_labels_in_the_order_of_their_classes_are_warned_about(tmp_path: Path) -> None:
    file = write(tmp_path / "sorted.npz", y_train=np.repeat([0, 1, 2], 4))
    with pytest.warns(UserWarning, match="y_train is sorted by class, so that the first images show the first classes"):
        load_data(file)


def test_names_of_classes_are_texts_one_for_each(tmp_path: Path) -> None:
    found = load_data(write(tmp_path / "bytes.npz", classes=np.array([b"cat", "k\u00e4fer".encode(), b"dog"])))
    assert found.classes == ("cat", "k\u00e4fer", "dog")
    for classes, shape in ((np.array("cat"), r"<U3 \(\)"), (np.arange(3), r"int64 \(3,\)")):
        with pytest.raises(airjax.DataError, match=f"classes is {shape}; need a text for each class"):
            load_data(write(tmp_path / "odd.npz", classes=classes))
    with pytest.raises(airjax.DataError, match="classes has a name that is no text"):
        load_data(write(tmp_path / "odd.npz", classes=np.array([b"a", b"b", b"\xff"])))


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "odd.npz", x_train=None)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("x_train.npy", b"text")
    with pytest.raises(airjax.DataError, match=r"odd\.npz is no .npz of plain arrays, or is damaged"):
        load_data(file)


def test_labels_that_are_numbers_of_something_else_are_refused_before_each_has_a_name(tmp_path: Path) -> None:
    labels = {name: np.where(arrays()[name] == 0, 1_000_000_000, 0) for name in ("y_train", "y_test")}
    with pytest.raises(airjax.DataError, match=r"a label is 1000000000, but classes are numbered .* np\.unique"):
        load_data(write(tmp_path / "ids.npz", **labels))
