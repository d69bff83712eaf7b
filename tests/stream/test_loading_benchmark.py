"""The line that `python -m benchmarks loading` writes, and the table that is made of it."""

import itertools
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tree_files import write_tree

from airjax.utils.records import read_lines
from benchmarks import __main__ as commands
from benchmarks import loading, loading_engines
from benchmarks.loading import amounts_of, main
from benchmarks.loading_engines import Loader, versions_of
from benchmarks.loading_tables import loading_table

for package in ("cv2", "grain", "simplejpeg"):
    pytest.importorskip(package)


def test_a_measurement_is_a_line_and_a_row_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))
    folder = write_tree(tmp_path / "tree") / "train"
    options = ["--sizes", "16", "24", "--batch-size", "4", "--batches", "2", "--repeats", "2", "--against"]
    assert main([str(folder), *options, "--results", str(tmp_path)]) == 0
    (line,) = read_lines(tmp_path / "loading.jsonl")
    assert set(line["images_per_second"]) == {"16", "24"}
    for found in line["images_per_second"].values():
        assert set(found) == {"airjax-tree", "airjax-jpeg", "airjax-raw", "airjax-whole"}
        assert all(len(one["blocks"]) == 2 and one["median"] > 0 for one in found.values())
    assert line["images"] == 21
    assert (line["failed"], line["batches"]) == ({}, 2)
    assert line["packages"]["simplejpeg"] == version("simplejpeg")
    assert line["ratio"] == {"16": {}, "24": {}}
    # Nothing is larger than the prepared form allows, so raw images take three bytes a pixel and the file's head.
    assert line["bytes_per_image"]["raw"] == pytest.approx(3 * line["pixels_per_image"]["tree"] + 20 + 4096 / 21)
    table = loading_table([line])
    median = line["images_per_second"]["24"]["airjax-raw"]["median"]
    assert f"{median:,.0f} a second" in table
    assert "| the files | " in table
    assert "times" not in table
    rates = {"torchvision-uint8": 1.5, "torchvision-float32": 1.7, "tf.data": 1.2}
    told = loading_table([line | {"ratio": {"24": rates}}])
    assert (
        "that of the faster torchvision times 1.50 at 24 pixels. From the files, airjax's rate is that of the" in told
    )
    assert "fastest of all others times 1.20 at 24 pixels." in told
    assert "21 files of" in table
    assert not list((tmp_path / "cache").iterdir()), "the index of a tree that is thrown away"
    assert "images per second" in capsys.readouterr().out
    assert loading_table([]).startswith("Not measured yet")


def test_an_engine_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "describe_apart", lambda: {"device": "a processor"})
    folder = write_tree(tmp_path / "tree") / "train"

    def make_loaders(*_: object) -> list[Loader]:
        def fails(size: int) -> Iterator[int]:
            if size > 16:
                raise RuntimeError("no decoder")
            return itertools.count()

        return [Loader("airjax-tree", lambda size: itertools.count()), Loader("torchvision-uint8", fails)]

    monkeypatch.setattr(loading, "make_loaders", make_loaders)
    command = ["loading", str(folder), "--sizes", "16", "24", "--repeats", "2", "--against", "--results", str(tmp_path)]
    assert commands.main(command) == 1
    assert "error: torchvision-uint8 failed at 24 pixels: RuntimeError: no decoder" in capsys.readouterr().err
    (line,) = read_lines(tmp_path / "loading.jsonl")
    assert line["failed"] == {"torchvision-uint8": "RuntimeError: no decoder"}
    # Every size has the same engines, as the table needs it.
    assert [set(found) for found in line["images_per_second"].values()] == [{"airjax-tree"}] * 2
    assert "the files" in loading_table([line])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--repeats", "0"], "repeats is 0, but it must be at least 1"),
        (["--workers", "-1"], "workers is -1, but it must be at least 0"),
        (["--sizes", "32", "0"], "sizes has 0"),
        (["--against", "DALI"], "--against has DALI, but its module nvidia.dali is not installed"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    more: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading_engines, "_is_installed", lambda module: False)
    assert commands.main(["loading", str(tmp_path), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert len(error.splitlines()) == 1


def test_versions_are_those_of_whatever_distribution_a_module_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {
        "tensorflow": ["tensorflow", "tensorflow"],
        "nvidia": ["nvidia-cublas-cu12", "nvidia-dali-cuda120"],
        "cv2": ["opencv-python"],
    }
    monkeypatch.setattr(loading_engines, "packages_distributions", lambda: owners)
    monkeypatch.setattr(loading_engines, "version", lambda name: f"version of {name}")
    assert versions_of(["tf.data", "DALI"]) == {
        "grain": None,
        "simplejpeg": None,
        "opencv-python": "version of opencv-python",
        "numpy": None,
        "PIL": None,
        "tensorflow": "version of tensorflow",
        "nvidia-dali-cuda120": "version of nvidia-dali-cuda120",
    }


@pytest.mark.parametrize("workers", [1, 2, 9, 16])
def test_no_batch_of_a_block_is_there_before_its_clock_starts(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    amounts = amounts_of(16, workers)

    def start(size: int) -> Iterator[int]:
        # Each worker takes 7 seconds for a batch; they start together.
        nonlocal now
        for batch in range(amounts.asked):
            now = max(now, 7.0 * (1 + batch // workers))
            yield batch

    clock: Any = SimpleNamespace(perf_counter=lambda: now, process_time=None)
    monkeypatch.setattr(loading, "time", clock)
    rate = amounts.timed / loading._block(Loader("workers", start), 16, workers, amounts)
    assert rate == pytest.approx(workers / 7)
    assert amounts.timed >= max(16, 4 * workers if workers > 1 else 0)
    # The stream goes on past the end of the clock, for every worker.
    assert amounts.asked >= amounts.before + amounts.timed + workers


def test_one_process_is_timed_as_ever() -> None:
    assert [amounts_of(16, workers)[:2] for workers in (0, 1)] == [(2, 16)] * 2
