"""CIFAR-100 from both official forms, with fine and coarse labels, and everything that can be wrong with it.

The archives here are made up: the official layout with few images that are nearly all zero.
"""

import hashlib
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_files import Hostile, tar_of, write_archive, write_folder, zip_of

import airjax
from airjax.data import cifar100 as module
from airjax.data import load_cifar100, load_data
from airjax.data.cache import cache_folder
from airjax.data.cifar import PIXELS
from airjax.data.info import pixel_statistics

TRAIN, TEST = 300, 200  # images, where the official files have 50,000 and 10,000
FOLDERS = {"binary": "cifar-100-binary", "python": "cifar-100-python"}

# What these tests make up is not the official content, and said to be not.
pytestmark = pytest.mark.filterwarnings("ignore:.*has the form of CIFAR-100 but not its content:UserWarning")


def labels_of(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coarse and fine labels that do not follow from each other's numbers."""
    return np.arange(size) % 20, (np.arange(size) * 7) % 100


def planes_of(size: int, value: int) -> np.ndarray:
    planes = np.zeros((size, PIXELS), np.uint8)
    planes[:, value] = 7  # a red pixel in the first row
    planes[:, 2048 + 33] = 200 + value  # a blue one in the second
    return planes


def binary_files(train: int = TRAIN, test: int = TEST) -> dict[str, bytes]:
    files = {}
    for value, (name, size) in enumerate((("train.bin", train), ("test.bin", test))):
        labels = np.stack(labels_of(size), axis=1).astype(np.uint8)  # the coarse one first
        files[name] = np.concatenate([labels, planes_of(size, value)], axis=1).tobytes()
    return files


def python_files(train: int = TRAIN, test: int = TEST) -> dict[str, bytes]:
    files = {}
    for value, (name, size) in enumerate((("train", train), ("test", test))):
        coarse, fine = (part.tolist() for part in labels_of(size))
        batch = {b"data": planes_of(size, value), b"coarse_labels": coarse, b"fine_labels": fine, b"filenames": []}
        files[name] = pickle.dumps(batch, protocol=2)
    return files | {"meta": pickle.dumps({b"fine_label_names": []}, protocol=2)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    return {
        "binary folder": write_folder(root / "b" / FOLDERS["binary"], binary_files()),
        "python folder": write_folder(root / "p" / FOLDERS["python"], python_files()),
        "binary archive": write_archive(root / "binary.tar.gz", FOLDERS["binary"], binary_files()),
        "python archive": write_archive(root / "python.tar.gz", FOLDERS["python"], python_files()),
        "folder with one": root / "p",
    }


@pytest.fixture(autouse=True)
def _fresh_cache_and_small_files(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))
    if "cifar100_folder" not in request.fixturenames:
        for name in ("FINE", "COARSE"):
            monkeypatch.setattr(module, name, getattr(module, name)._replace(sizes=(TRAIN, TEST)))


@pytest.mark.parametrize(
    "source", ["binary folder", "python folder", "binary archive", "python archive", "folder with one"]
)
def test_every_source_gives_the_same_images_with_either_labels(source: str, sources: dict[str, Path]) -> None:
    fine, coarse = load_cifar100(sources[source]), load_cifar100(sources[source], coarse=True)
    assert fine.train_images.shape == (TRAIN, 32, 32, 3)
    assert fine.train_images[0, 0, 0].tolist() == [7, 0, 0]
    assert fine.test_images[0, 1, 1].tolist() == [0, 0, 201]
    assert fine.train_labels[:4].tolist() == [0, 7, 14, 21]
    assert coarse.train_labels[18:22].tolist() == [18, 19, 0, 1]
    assert (len(fine.info.classes), len(coarse.info.classes)) == (100, 20)
    assert fine.info.classes[7] == "beetle"
    assert coarse.info.classes[19] == "vehicles_2"
    np.testing.assert_array_equal(fine.train_images, coarse.train_images)
    assert fine.fingerprint == load_cifar100(sources["binary folder"]).fingerprint
    assert (fine.name, fine.content) == ("custom-cifar100", "unknown")


def test_the_classes_are_in_the_order_of_the_labels() -> None:
    # As the files fine_label_names.txt and coarse_label_names.txt begin and end.
    assert module.FINE_CLASSES[:3] == ("apple", "aquarium_fish", "baby")
    assert module.FINE_CLASSES[-2:] == ("woman", "worm")
    assert module.COARSE_CLASSES[:2] == ("aquatic_mammals", "fish")
    assert tuple(sorted(module.COARSE_CLASSES)) == module.COARSE_CLASSES
    assert {len(names.split()) for names in module.SUPERCLASSES.values()} == {5}
    assert len(set(module.FINE_CLASSES)) == 100


def test_the_environment_names_the_place_and_cifar10s_variable_does_not(
    sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRJAX_DATA", str(sources["binary archive"].parent / "nowhere"))
    monkeypatch.setenv("AIRJAX_CIFAR100", str(sources["binary archive"]))
    assert load_data("cifar100").name == "custom-cifar100"
    assert load_data("cifar100-coarse").name == "custom-cifar100-coarse"
    monkeypatch.setenv("AIRJAX_CIFAR100", str(sources["binary archive"].parent / "nowhere"))
    with pytest.raises(airjax.DataError, match=r"nowhere does not exist. Put cifar-100-binary.tar.gz or"):
        load_data("cifar100")


@pytest.mark.parametrize("form", ["binary", "python"])
def test_files_with_the_published_md5_sums_are_official(
    form: str, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = binary_files() if form == "binary" else python_files()
    sums = {name: hashlib.md5(content).hexdigest() for name, content in made.items()}
    layouts = tuple(
        layout._replace(md5=tuple(sums.get(name, "") for name in layout.files)) for layout in module.LAYOUTS
    )
    monkeypatch.setattr(module, "FINE", module.FINE._replace(layouts=layouts))
    for _ in range(2):  # the second time from the cache
        data = load_cifar100(sources[f"{form} folder"])
        assert (data.name, data.content) == ("cifar100", "official")
    assert load_cifar100(sources[f"{form} archive"]).content == "official"
    assert data.with_validation(50).content == "official"
    assert data.subset(np.arange(10)).content == "unknown"


def test_an_archive_with_the_published_md5_sum_is_official(
    sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = hashlib.md5(sources["python archive"].read_bytes()).hexdigest()
    monkeypatch.setattr(module, "COARSE", module.COARSE._replace(archive_md5=(found,)))
    assert load_cifar100(sources["python archive"], coarse=True).content == "official"
    assert load_cifar100(sources["binary archive"], coarse=True).content == "unknown"


def test_what_is_published_is_written_down() -> None:
    assert module.FINE.archive_md5 == ("03b5dce01913d631647c71ecec9e9cb8", "eb9058c3a382ffc7106e4002c42a8d85")
    assert module.REMOTE.md5 == module.FINE.archive_md5[0]
    assert module.LAYOUTS[1].md5 == ("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc")


def test_a_changed_byte_is_noticed_and_a_damaged_cache_replaced(sources: dict[str, Path], tmp_path: Path) -> None:
    before = load_cifar100(sources["binary folder"]).fingerprint
    [cached] = cache_folder().glob("*.safetensors")
    cached.write_bytes(cached.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="cached data set is damaged"):
        assert load_cifar100(sources["binary folder"]).fingerprint == before
    files = binary_files()
    files["test.bin"] = files["test.bin"][:-1] + b"\1"
    assert load_cifar100(write_folder(tmp_path / "changed", files)).fingerprint != before


def test_an_incomplete_or_short_folder_is_refused(tmp_path: Path) -> None:
    files = binary_files()
    folder = write_folder(tmp_path / "short", files | {"train.bin": files["train.bin"][:-1]})
    with pytest.raises(airjax.DataError, match=r"train.bin has 922199 bytes, but 922200 are expected"):
        load_cifar100(folder)
    (folder / "train.bin").unlink()
    with pytest.raises(airjax.DataError, match=r"train.bin is missing. The folder is incomplete"):
        load_cifar100(folder)
    (folder / "test.bin").unlink()
    with pytest.raises(airjax.DataError, match=r"short holds no CIFAR-100. Put cifar-100-binary.tar.gz or"):
        load_cifar100(folder)
    with pytest.raises(airjax.DataError, match="CIFAR-100 is not in the cache"):
        load_cifar100(download=False)


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_archive_is_refused(sources: dict[str, Path], tmp_path: Path, kept: float) -> None:
    content = sources["binary archive"].read_bytes()
    file = tmp_path / "cut.tar.gz"
    file.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    with pytest.raises(airjax.DataError, match="truncated or damaged archive"):
        load_cifar100(file)


def test_an_archive_of_something_else_or_of_a_part_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.tar").write_bytes(tar_of({"other/readme": b"hello"}))
    with pytest.raises(airjax.DataError, match="has no train, so it is not a CIFAR-100 archive"):
        load_cifar100(tmp_path / "other.tar")
    (tmp_path / "part.zip").write_bytes(zip_of({"x/test.bin": binary_files()["test.bin"]}))
    with pytest.raises(airjax.DataError, match=r"part.zip: has no train.bin; the archive is incomplete"):
        load_cifar100(tmp_path / "part.zip")
    np.savez(tmp_path / "cifar100.npz", x_train=np.zeros(3))
    with pytest.raises(airjax.DataError, match=r"is an .npz of arrays \(x_train.npy\), which is not CIFAR-100"):
        load_cifar100(tmp_path / "cifar100.npz")


def test_other_kinds_and_names_of_archive_are_read(sources: dict[str, Path], tmp_path: Path) -> None:
    expected = load_cifar100(sources["binary folder"]).fingerprint
    members = {f"deep/er/{name}": content for name, content in binary_files().items()}
    members["__MACOSX/deep/er/train.bin"] = b"\0"
    (tmp_path / "cifar-100-binary.zip").write_bytes(zip_of(members))
    assert load_cifar100(tmp_path).fingerprint == expected


@pytest.mark.parametrize("key", [b"fine_labels", b"coarse_labels"])
def test_labels_that_are_none_are_refused(key: bytes, tmp_path: Path) -> None:
    coarse, classes = key == b"coarse_labels", 20 if key == b"coarse_labels" else 100
    for wrong, said in (
        (classes, f"labels must be whole numbers from 0 to {classes - 1}, but one is {classes}"),
        (3.7, "labels are float64, such as 3.7; need whole numbers"),
        (None, "not a CIFAR-100 batch|labels are object"),
    ):
        files = python_files()
        batch = pickle.loads(files["train"])
        batch[key][0] = wrong
        folder = write_folder(tmp_path / str(wrong), files | {"train": pickle.dumps(batch, protocol=2)})
        with pytest.raises(airjax.DataError, match=f"train: ({said})"):
            load_cifar100(folder, coarse=coarse)
    files = binary_files()
    files["test.bin"] = bytes([20, 100]) + files["test.bin"][2:]
    with pytest.raises(airjax.DataError, match=rf"test labels must lie in \[0, {classes}\)"):
        load_cifar100(write_folder(tmp_path / "binary", files), coarse=coarse)


def test_a_hostile_pickle_is_never_executed(tmp_path: Path) -> None:
    created = tmp_path / "created"
    content = pickle.dumps({b"data": Hostile(created), b"fine_labels": []}, protocol=2)
    folder = write_folder(tmp_path / "hostile", python_files() | {"train": content})
    with pytest.raises(airjax.DataError, match=r"refused, not a plain CIFAR-100 batch: it wants to call posix.system"):
        load_cifar100(folder)
    assert not created.exists()
    pickle.loads(content)
    assert created.exists(), "the pickle of this test is not hostile at all"


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({b"data": [1]})])
def test_a_damaged_or_odd_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path / "odd", {"train": content, "test": content})
    with pytest.raises(airjax.DataError, match=r"refused, not a plain CIFAR-100 batch|not a CIFAR-100 batch"):
        load_cifar100(folder)


@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_hosts_are_named() -> None:
    message = (
        r"CIFAR-100 is not here, and cannot be downloaded \(www\.cs\.toronto\.edu: no connection; .*\); name its "
        "folder or archive with --data-dir or AIRJAX_CIFAR100"
    )
    with pytest.raises(airjax.DataError, match=message):
        load_data("cifar100")


@pytest.mark.filterwarnings("ignore:.*in another order than the official one:UserWarning")
def test_the_real_cifar100_is_known_and_cached(cifar100_folder: Path) -> None:
    fine, coarse = load_data("cifar100", cifar100_folder), load_data("cifar100-coarse", cifar100_folder)
    for data in (fine, coarse):
        assert data.content in ("official", "shuffled")
    assert (fine.name, coarse.name) == ("cifar100", "cifar100-coarse")
    assert np.bincount(fine.train_labels).tolist() == [500] * 100
    assert np.bincount(coarse.test_labels).tolist() == [500] * 20
    for index in range(0, 50_000, 997):
        fine_name, coarse_name = fine.classes[fine.train_labels[index]], coarse.classes[coarse.train_labels[index]]
        assert fine_name in module.SUPERCLASSES[coarse_name].split()
    assert pixel_statistics(fine.train_images) == (fine.info.mean, fine.info.std)
    assert fine.info.mean == (0.5071, 0.4865, 0.4409)
    began = time.process_time()
    assert load_data("cifar100", cifar100_folder).content == fine.content
    # Processor time, so that other tests beside this one do not count.
    assert time.process_time() - began < 2


@pytest.mark.filterwarnings("ignore:.*in another order than the official one:UserWarning")
def test_one_wrong_label_among_the_real_ones_is_noticed(cifar100_folder: Path) -> None:
    data = load_data("cifar100", cifar100_folder)
    other = data.train_labels.copy()
    other[0] = (other[0] + 1) % 100
    assert replace(data, train_labels=other, verified="").content == "unknown"
