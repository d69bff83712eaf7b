"""SVHN from MATLAB files as they are published, made up with few images, and everything that can be wrong with them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

import airjax
from airjax.data import load_data, load_svhn
from airjax.data import svhn as module
from airjax.data.cache import cache_folder

SIZES = {"train": 120, "test": 60, "extra": 40}

# What these tests make up has not the published md5 sums, and is said to have others.
pytestmark = pytest.mark.filterwarnings("ignore:.*has the form of SVHN, but not its files:UserWarning")


def arrays(split: str, size: int | None = None) -> dict[str, np.ndarray]:
    """X [32,32,3,n] and y [n,1], as the files have them: the images are last, and digit 0 has label 10."""
    count = SIZES[split] if size is None else size
    images = np.zeros((32, 32, 3, count), np.uint8)
    images[1, 2, 0] = np.arange(count)  # the red channel of row 1, column 2
    images[3, 4, 2] = len(split)
    labels = np.arange(count, dtype=np.uint8)[:, None] % 10 + 1
    return {"X": images, "y": labels}


def write(folder: Path, *splits: str, compress: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        savemat(folder / f"{split}_32x32.mat", arrays(split), do_compression=compress)
    return folder


@pytest.fixture(autouse=True)
def _fresh_cache_and_small_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SIZES", SIZES)


def test_the_images_are_transposed_and_label_10_is_digit_0(tmp_path: Path) -> None:
    data = load_svhn(write(tmp_path / "svhn", "train", "test"))
    assert data.train_images.shape == (120, 32, 32, 3)
    assert data.test_images.shape == (60, 32, 32, 3)
    assert data.train_images[7, 1, 2].tolist() == [7, 0, 0]
    assert data.train_images[7, 3, 4].tolist() == [0, 0, len("train")]
    assert data.train_labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert data.train_labels.dtype == np.int32
    assert data.classes == tuple("0123456789")
    assert data.info.mean == (0.4377, 0.4438, 0.4728)
    assert data.info.std == (0.1980, 0.2010, 0.1970)


def test_a_digit_is_never_mirrored(tmp_path: Path) -> None:
    data = load_svhn(write(tmp_path / "svhn", "train", "test"))
    assert not data.info.symmetric
    inputs, symmetric = data.info.inputs(), data.info.symmetric
    for name, recipe in airjax.RECIPES.items():
        fitted = recipe.fit_to(73_257, 26_032, inputs, symmetric=symmetric).flat()
        assert (fitted["flip"], fitted["tta_mirror"]) == ("none", False), name
        others = {field: value for field, value in recipe.flat().items() if field not in ("flip", "tta_mirror")}
        same = {field: fitted[field] for field in others if not field.endswith("_examples")}
        assert same == {field: value for field, value in others.items() if not field.endswith("_examples")}, name
    assert any(recipe.flat()["flip"] != "none" for recipe in airjax.RECIPES.values())


def test_every_place_is_taken_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "svhn", "train", "test", compress=False)
    expected = load_svhn(folder).fingerprint
    for place in (tmp_path, folder / "train_32x32.mat", folder / "test_32x32.mat"):
        assert load_svhn(place).fingerprint == expected
    monkeypatch.setenv("AIRJAX_SVHN", str(folder))
    assert load_data("svhn").fingerprint == expected
    [cached] = cache_folder().glob("svhn-*.safetensors")
    cached.write_bytes(cached.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="cached data set is damaged"):
        again = load_data("svhn")
    assert (again.fingerprint, again.info.symmetric, again.info.mean[0]) == (expected, False, 0.4377)
    assert not load_data("svhn").info.symmetric  # from the cache, too
    savemat(folder / "test_32x32.mat", arrays("extra", 60))
    assert load_data("svhn").fingerprint != expected


def test_the_extra_images_follow_those_of_training(tmp_path: Path) -> None:
    folder = write(tmp_path / "svhn", "train", "test")
    with pytest.raises(airjax.DataError, match=r"extra_32x32.mat is missing. Put train_32x32.mat and"):
        load_data("svhn-extra", folder)
    data = load_data("svhn-extra", write(folder, "extra"))
    assert (data.name, len(data.train_images), len(data.test_images)) == ("svhn-extra", 160, 60)
    assert data.train_images[120:122, 1, 2, 0].tolist() == [0, 1]
    assert data.train_labels[119:122].tolist() == [0, 1, 2]
    assert data.info.mean != (0.4377, 0.4438, 0.4728)  # measured: none are published for both together


def test_the_md5_sums_say_what_is_official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "svhn", "train", "test")
    sums = {split: hashlib.md5((folder / f"{split}_32x32.mat").read_bytes()).hexdigest() for split in ("train", "test")}
    with pytest.warns(UserWarning, match=f"test_32x32.mat has the md5 sum {sums['test']}, not eb5a983be6a315427106f1"):
        assert load_svhn(folder).content == "unknown"
    made = {split: module.REMOTES[split]._replace(md5=value) for split, value in sums.items()}
    monkeypatch.setattr(module, "REMOTES", module.REMOTES | made)
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "other cache"))
    for _ in range(2):  # the second time from the cache
        assert load_svhn(folder).content == "official"
    assert load_svhn(folder).with_validation(20).content == "official"


def test_what_is_published_is_written_down() -> None:
    assert [remote.md5 for remote in module.REMOTES.values()] == [
        "e26dedcc434d2e4c54c9b2d4a06d8373",
        "eb5a983be6a315427106f1b164d9cef3",
        "a93ce644f1a588dc4d68dda5feec44a7",
    ]


def test_missing_places_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(airjax.DataError, match=r"nowhere does not exist. Put train_32x32.mat and"):
        load_svhn(tmp_path / "nowhere")
    with pytest.raises(airjax.DataError, match="holds no SVHN"):
        load_svhn(tmp_path)
    with pytest.raises(airjax.DataError, match=r"train_32x32\.mat is missing"):
        load_svhn(write(tmp_path / "svhn", "test"))
    with pytest.raises(airjax.DataError, match="SVHN is not in the cache"):
        load_svhn(download=False)


@pytest.mark.parametrize("kept", [0, 10, 130, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("compress", [True, False])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float, compress: bool) -> None:
    file = write(tmp_path / "svhn", "train", "test", compress=compress) / "train_32x32.mat"
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    with pytest.raises(airjax.DataError, match=r"train_32x32.mat(: truncated or damaged| holds ).*Fetch it again"):
        load_svhn(file)


def test_a_corrupted_or_another_file_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "svhn", "train", "test")
    file = folder / "train_32x32.mat"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(airjax.DataError, match="truncated or damaged"):
        load_svhn(folder)
    file.write_text("<html>not found</html>" * 100)
    with pytest.raises(airjax.DataError, match=r"no MATLAB file|truncated or damaged"):
        load_svhn(folder)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    file.write_bytes(header + bytes(512))
    with pytest.raises(airjax.DataError, match=r"is in MATLAB.s format 7\.3"):
        load_svhn(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"X": np.zeros((32, 32, 3, 119), np.uint8)}, r"holds X, uint8 \(32, 32, 3, 119\), y, uint8 \(120, 1\); need"),
        ({"X": np.zeros((120, 32, 32, 3), np.uint8)}, r"need X, uint8 \(32, 32, 3, 120\), and y, numbers \(120, 1\)"),
        ({"X": np.zeros((32, 32, 3, 120))}, r"holds X, double"),
        ({"y": np.array(["ab"] * 120, object)[:, None]}, r"y, cell \(120, 1\)"),
        ({"y": np.ones((1, 120), np.uint8)}, r"y, uint8 \(1, 120\)"),
        ({"X": None}, r"holds y, uint8 \(120, 1\); need X"),
        ({"y": np.full((120, 1), 11, np.uint8)}, "labels must be whole numbers from 1 to 10, but one is 11"),
        ({"y": np.zeros((120, 1), np.uint8)}, "labels must be whole numbers from 1 to 10, but one is 0"),
        ({"y": np.full((120, 1), 2.5)}, "labels must be whole numbers from 1 to 10, but one is 2.5"),
        ({"y": np.full((120, 1), np.nan)}, "labels must be whole numbers from 1 to 10, but one is nan"),
    ],
)
def test_arrays_that_are_not_the_official_ones_are_refused(
    changes: dict[str, np.ndarray | None], said: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "svhn", "train", "test")
    kept = {name: array for name, array in (arrays("train") | changes).items() if array is not None}
    savemat(folder / "train_32x32.mat", kept, do_compression=True)
    with pytest.raises(airjax.DataError, match=rf"train_32x32.mat:? {said}|train_32x32.mat holds .*{said}"):
        load_svhn(folder)


def test_a_file_that_claims_to_be_huge_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "svhn", "train", "test", compress=False)
    file = folder / "train_32x32.mat"
    count = np.array([32, 32, 3, 120], np.int32).tobytes()
    assert file.read_bytes().count(count) == 1
    file.write_bytes(file.read_bytes().replace(count, np.array([32, 32, 3, 2**30], np.int32).tobytes()))
    with pytest.raises(airjax.DataError, match=r"holds X, uint8 \(32, 32, 3, 1073741824\)"):
        load_svhn(folder)


@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_host_is_named() -> None:
    message = r"SVHN is not here, and cannot be downloaded \(ufldl\.stanford\.edu: no connection\); name its folder"
    with pytest.raises(airjax.DataError, match=message):
        load_data("svhn")
