"""The line that `python -m benchmarks loading` writes, and the table that is made of it."""

from pathlib import Path

import pytest
from tree_files import write_tree

from airjax.utils.records import read_lines
from benchmarks.loading import main
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
