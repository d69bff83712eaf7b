"""airjax data prepare: a tree of images resized once, and what learns from it."""

import tempfile
from pathlib import Path

import pytest
from data_files import forbidden
from tree_files import SMALL, write_tree

import airjax
from airjax.cli.data import main
from airjax.cli.train import EXIT_OK, EXIT_USAGE
from airjax.cli.train import main as train
from airjax.stream.tree import open_tree
from airjax.utils.records import read_lines

for package in ("grain", "simplejpeg", "cv2"):
    pytest.importorskip(package)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "three")


def test_a_prepared_tree_trains_the_networks_of_the_tree_where_nothing_is_resized(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(tree), "--out", str(tmp_path / "small"), "--kind", "raw"]) == EXIT_OK
    said = capsys.readouterr().out
    assert "small: 21 images to train on, 6 to test on, 3 classes; " in said
    runs = []
    for place in (tree, tmp_path / "small"):
        out = tmp_path / f"out-{place.name}"
        assert train([*SMALL, "--data", str(place), "--out", str(out), "--quiet"]) == EXIT_OK
        runs.append(((out / "model-0.safetensors").read_bytes(), read_lines(out / "runs.jsonl")[0]["train_loss"]))
    assert runs[0][1] == runs[1][1]
    # Found again by the variable, from its folder, as the same data.
    assert train([*SMALL, "--data", str(tmp_path / "small"), "--out", str(tmp_path / "out-small"), "--json"]) == EXIT_OK
    assert "kept from" in capsys.readouterr().out


def test_a_home_folder_is_found_and_said_to_be_written(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for word in ("wrote", "nothing to do in"):
        assert main(["prepare", str(tree), "--out=~/small", "--longest", "30"]) == EXIT_OK
        assert capsys.readouterr().out.startswith(f"{word} {tmp_path}/small: 21 images")


def test_a_folder_or_cache_that_may_not_be_looked_into_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # tests' own are not for everyone to read
        place = Path(folder)
        place.chmod(0o755)
        tree, out = write_tree(place / "three"), place / "small"
        monkeypatch.setenv("AIRJAX_CACHE", str(place / "cache"))
        assert main(["prepare", str(tree), "--out", str(out), "--longest", "30"]) == EXIT_OK
        with forbidden(out):
            assert main(["prepare", str(tree), "--out", str(out), "--longest", "30"]) == EXIT_USAGE
        assert f"error: {out}" in capsys.readouterr().err
        with forbidden(place / "cache"), pytest.raises(airjax.DataError, match=r"tree-.* the index cannot be written"):
            open_tree(tree)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tree}", "--out", "{tree}"], "is the tree itself; name another folder"),
        (
            ["{tree}", "--out", "{tmp}/x", "--longest", "0"],
            "longest is 0, but it must be a whole number from 1 to 65535 pixels",
        ),
        (["{tmp}/none", "--out", "{tmp}/x"], "there is no folder"),
        (["{tree}", "--out", "{tree}/train/n01/00.JPEG"], "00.JPEG"),
    ],
)
def test_what_cannot_be_prepared_is_named(
    arguments: list[str], message: str, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(tree=tree, tmp=tmp_path) for word in arguments]
    assert main(["prepare", *words]) == EXIT_USAGE
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said


def test_a_prepared_tree_is_not_prepared_again(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "train" / "n01" / "00.JPEG").write_bytes(b"no image")
    words = [str(tree), "--out", str(tmp_path / "small"), "--longest", "30"]
    assert main(["prepare", *words]) == EXIT_USAGE
    assert "00.JPEG" in capsys.readouterr().err
    assert not (tmp_path / "small").exists() or not list((tmp_path / "small").iterdir())
    assert main(["prepare", *words, "--corrupt", "skip"]) == EXIT_OK
    shown = capsys.readouterr()
    assert "1 files of" in shown.err
    assert "small: 20 images to train on" in shown.out
    assert main(["prepare", str(tmp_path / "small"), "--out", str(tmp_path / "x")]) == EXIT_USAGE
    assert "is prepared already; name the tree that it was made of" in capsys.readouterr().err
