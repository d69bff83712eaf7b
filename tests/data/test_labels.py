"""Other labels of CIFAR-10's images, from their official file formats, and what can be wrong with the files."""

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_files import Hostile, write_torch

import airjax
from airjax.data import DataError, labels, load_data, with_labels
from airjax.data.content import digest
from airjax.data.dataset import TEST_LABELS
from airjax.data.labels import LABEL_NAMES, LABEL_SETS, read_answers
from airjax.data.torch_files import read_table

# The share of CIFAR-10N's labels that are not CIFAR-10's, as its paper's table has them, in percent.
NOISE = {"aggregate": 9.01, "random1": 17.23, "random2": 18.12, "random3": 17.64, "worst": 40.21}


def small(toy: airjax.Dataset) -> airjax.Dataset:
    """Few images, as if they were CIFAR-10 in its official order."""
    return replace(toy, name="cifar10", verified=toy.fingerprint)


def noisy_table(data: airjax.Dataset) -> dict[str, np.ndarray]:
    clean = data.train_labels.astype(np.int64)
    names = ("aggre_label", "random_label1", "random_label2", "random_label3", "worse_label")
    return {"clean_label": clean} | {name: (clean + number) % 10 for number, name in enumerate(names, 1)}


@pytest.fixture
def known(toy: airjax.Dataset, monkeypatch: pytest.MonkeyPatch) -> airjax.Dataset:
    """The small data set, whose labels in `noisy_table` are taken for the official ones."""
    for name, chosen in LABEL_SETS.items():
        if chosen.split == "train":
            made = noisy_table(toy)[chosen.key].astype(np.int32)
            monkeypatch.setitem(labels.LABEL_SETS, name, chosen._replace(sha256=digest([made])))
    return small(toy)


def test_the_names_are_those_that_flags_take() -> None:
    assert tuple(LABEL_SETS) == LABEL_NAMES
    assert tuple(name for name, chosen in LABEL_SETS.items() if chosen.split == "test") == TEST_LABELS


@pytest.mark.parametrize("form", ["torch", "older torch", "numpy"])
@pytest.mark.parametrize(
    ("name", "number"), [("cifar10n-aggregate", 1), ("cifar10n-random2", 3), ("cifar10n-worst", 5)]
)
def test_noisy_labels_take_the_place_of_those_of_training(
    form: str, name: str, number: int, known: airjax.Dataset, tmp_path: Path
) -> None:
    table = noisy_table(known)
    file = tmp_path / ("CIFAR-10_human.npy" if form == "numpy" else "CIFAR-10_human.pt")
    if form == "torch":
        write_torch(file, table)
    elif form == "older torch":
        heads = (119547037146038801333356, 1001, {"little_endian": True})
        file.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in (*heads, table, [])))
    else:
        np.save(file, table, allow_pickle=True)  # pyright: ignore[reportArgumentType]
    for place in (tmp_path, file):
        data = with_labels(known, name, place)
        np.testing.assert_array_equal(data.train_labels, (known.train_labels + number) % 10)
        assert data.train_labels.dtype == np.int32
        np.testing.assert_array_equal(data.test_labels, known.test_labels)
        np.testing.assert_array_equal(data.train_images, known.train_images)
        assert (data.name, data.labels, data.content) == (f"cifar10+{name}", name, "official")
        assert (data.info.mean, data.classes) == (known.info.mean, known.classes)
        drawn = data.with_validation(50)
        assert (drawn.labels, drawn.content, drawn.split) == (name, "official", "validation")


def test_files_that_torch_writes_are_read(known: airjax.Dataset, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    arrays = noisy_table(known)
    for table in (arrays, {name: torch.from_numpy(array) for name, array in arrays.items()}):
        torch.save(table, tmp_path / "CIFAR-10_human.pt")
        read = read_table((tmp_path / "CIFAR-10_human.pt").read_bytes(), "x")
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
    torch.save(arrays, tmp_path / "CIFAR-10_human.pt", _use_new_zipfile_serialization=False)
    data = with_labels(known, "cifar10n-random1", tmp_path)
    np.testing.assert_array_equal(data.train_labels, (known.train_labels + 2) % 10)


def test_the_majority_of_people_takes_the_place_of_the_labels_of_test(
    toy: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, own = small(toy), toy.test_labels
    counts = np.zeros((len(own), 10), np.int64)
    counts[np.arange(len(own)), own] = 30
    counts[0, (own[0] + 3) % 10] = 31  # another class
    counts[1, (own[1] + 3) % 10] = 30  # as often as the official one, which counts
    expected = own.copy()
    expected[0] = (own[0] + 3) % 10
    chosen = LABEL_SETS["cifar10h"]._replace(sha256=digest([expected.astype(np.int32)]))
    monkeypatch.setitem(labels.LABEL_SETS, "cifar10h", chosen)
    for name, answers in (("counts", counts), ("probs", counts / counts.sum(1, keepdims=True))):
        np.save(tmp_path / f"cifar10h-{name}.npy", answers)
        other = with_labels(data, "cifar10h", tmp_path / f"cifar10h-{name}.npy")
        np.testing.assert_array_equal(other.test_labels, expected)
        np.testing.assert_array_equal(other.train_labels, data.train_labels)
        assert (other.name, other.content) == ("cifar10+cifar10h", "official")
        np.testing.assert_array_equal(read_answers(tmp_path / f"cifar10h-{name}.npy"), answers)
    with pytest.raises(DataError, match="cifar10h are labels of the test images, which a validation split leaves out"):
        other.with_validation(50)


def test_labels_of_another_data_set_or_order_are_refused(known: airjax.Dataset, tmp_path: Path) -> None:
    write_torch(tmp_path / "CIFAR-10_human.pt", noisy_table(known))
    with pytest.raises(DataError, match=r"labels is 'cifar10x', but must be one of cifar10n-aggregate, "):
        with_labels(known, "cifar10x", tmp_path)
    with pytest.raises(DataError, match="are labels of CIFAR-10, not of synthetic; name it with --data cifar10"):
        with_labels(known.renamed("synthetic"), "cifar10n-worst", tmp_path)
    with pytest.raises(DataError, match=r"are labels of CIFAR-10, not of cifar10\+cifar10n-worst"):
        with_labels(with_labels(known, "cifar10n-worst", tmp_path), "cifar10n-worst", tmp_path)
    reversed_order = known.subset(np.arange(len(known.train_labels))[::-1])
    with pytest.raises(DataError, match="go by the official order of CIFAR-10's images, but the content of this is"):
        with_labels(reversed_order, "cifar10n-worst", tmp_path)
    table = noisy_table(known)
    write_torch(tmp_path / "CIFAR-10_human.pt", {name: array[::-1] for name, array in table.items()})
    with pytest.raises(DataError, match="its clean_label are not CIFAR-10's labels in the official order"):
        with_labels(known, "cifar10n-worst", tmp_path)


def test_missing_files_are_named_with_their_address(known: airjax.Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"are not here; fetch CIFAR-10_human.pt or .* of https://github.com/UCSC-REAL"):
        with_labels(known, "cifar10n-worst")
    with pytest.raises(DataError, match=r"nowhere does not exist; fetch cifar10h-counts.npy or .*AIRJAX_LABELS"):
        with_labels(known, "cifar10h", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no labels cifar10h; fetch"):
        with_labels(known, "cifar10h", tmp_path)
    with pytest.raises(DataError, match=r"labels-dir is .*, but no labels are asked for; name them with --labels"):
        load_data("synthetic", labels_dir=tmp_path)


def test_the_environment_names_their_place(
    known: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_torch(tmp_path / "CIFAR-10_human.pt", noisy_table(known))
    monkeypatch.setenv("AIRJAX_LABELS", str(tmp_path))
    assert with_labels(known, "cifar10n-worst").labels == "cifar10n-worst"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"worse_label": None}, "has no worse_label, but clean_label, aggre_label"),
        (
            {"worse_label": np.zeros(299, np.int64)},
            r"worse_label is int64 \(299,\); need 300 whole numbers from 0 to 9",
        ),
        ({"worse_label": np.full(300, 10)}, "worse_label is int64 .*; need 300 whole numbers from 0 to 9"),
        ({"worse_label": np.zeros(300)}, "worse_label is float64"),
        ({"worse_label": np.zeros(300, np.int64)}, "the sha256 of worse_label is [0-9a-f]{64}, but that of cifar10n-w"),
    ],
)
def test_labels_that_are_not_the_official_ones_are_refused(
    changes: dict[str, np.ndarray | None], said: str, known: airjax.Dataset, tmp_path: Path
) -> None:
    table = {name: array for name, array in (noisy_table(known) | changes).items() if array is not None}
    with pytest.raises(DataError, match=rf"CIFAR-10_human.pt:? {said}"):
        with_labels(known, "cifar10n-worst", write_torch(tmp_path / "CIFAR-10_human.pt", table))


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (np.ones((100, 9)), r"is float64 \(100, 9\); need a row of 10 numbers"),
        (np.ones((99, 10)), "has 99 rows, but CIFAR-10 has 100 test images"),
        (np.full((100, 10), np.nan), ".* must be finite, from 0, and not all 0"),
        (np.zeros((100, 10), np.int64), ".* must be finite, from 0, and not all 0"),
        (np.full((100, 10), "a"), r"is <U1 \(100, 10\)"),
        (np.eye(10)[np.arange(100) % 10], "the sha256 of its majorities is [0-9a-f]{64}, but that of cifar10h is 0989"),
        (np.array([{"a": 1}], object), "refused, no plain .npy, or damaged: Object arrays cannot be loaded"),
    ],
)
def test_answers_that_are_none_are_refused(answers: np.ndarray, said: str, toy: airjax.Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "cifar10h-counts.npy", answers, allow_pickle=True)
    with pytest.raises(DataError, match=rf"cifar10h-counts.npy:? {said}"):
        with_labels(small(toy), "cifar10h", tmp_path)


@pytest.mark.parametrize("form", ["torch", "older torch", "numpy"])
def test_a_hostile_file_is_never_executed(form: str, known: airjax.Dataset, tmp_path: Path) -> None:
    created, file = tmp_path / "created", tmp_path / "CIFAR-10_human.pt"
    table = {"clean_label": Hostile(created)}
    if form == "torch":
        write_torch(file, table)
    elif form == "older torch":
        file.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in (1, 2, 3, table)))
    else:
        file = tmp_path / "CIFAR-10_human.npy"
        np.save(file, table, allow_pickle=True)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=r"no plain file of labels, or damaged: it wants to call posix\.system"):
        with_labels(known, "cifar10n-worst", file)
    assert not created.exists()
    pickle.loads(pickle.dumps(table, protocol=2))
    assert created.exists(), "the pickle of this test is not hostile at all"


@pytest.mark.parametrize("kept", [0, 1, 10, 0.5, 0.99])
def test_a_truncated_or_odd_file_is_refused(kept: float, known: airjax.Dataset, tmp_path: Path) -> None:
    for file in (write_torch(tmp_path / "CIFAR-10_human.pt", noisy_table(known)), tmp_path / "CIFAR-10_human.npy"):
        if file.suffix == ".npy":
            np.save(file, noisy_table(known), allow_pickle=True)  # pyright: ignore[reportArgumentType]
        content = file.read_bytes()
        file.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
        with pytest.raises(DataError, match=f"{file.name}: refused, no plain file of labels, or damaged"):
            with_labels(known, "cifar10n-worst", file)


def test_a_member_that_unpacks_to_too_much_is_refused(known: airjax.Dataset, tmp_path: Path) -> None:
    file = tmp_path / "CIFAR-10_human.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes((1 << 26) + 1))
    assert file.stat().st_size < 1 << 20
    with pytest.raises(DataError, match=r"x/data.pkl has more than 64 MiB"):
        with_labels(known, "cifar10n-worst", file)


@pytest.mark.parametrize("source", ["CIFAR-10_human.pt", "CIFAR-10_human.npy"])
def test_the_real_cifar10n_has_its_published_noise(source: str, cifar10: airjax.Dataset, human_labels: Path) -> None:
    if not (human_labels / source).exists():
        pytest.skip(f"{source} is not in {human_labels}")
    for name, percent in NOISE.items():
        data = with_labels(cifar10, f"cifar10n-{name}", human_labels / source)
        wrong = 100 * np.mean(data.train_labels != cifar10.train_labels)
        assert wrong == pytest.approx(percent, abs=0.005)


def test_the_real_cifar10h_agrees_with_most_labels(
    cifar10: airjax.Dataset, cifar10_folder: Path, human_labels: Path
) -> None:
    data = load_data("cifar10", cifar10_folder, labels="cifar10h", labels_dir=human_labels)
    assert int((data.test_labels != cifar10.test_labels).sum()) == 77
    probs = with_labels(cifar10, "cifar10h", human_labels / "cifar10h-probs.npy")
    assert probs.fingerprint == data.fingerprint
