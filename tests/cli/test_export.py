import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airjax.cli import export
from airjax.cli.export import main
from airjax.recipes.published import RECIPES
from airjax.sweep.store import Writer, load

pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install '.[report]')")

IMAGES, EPOCHS = 5, 2


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    writer = Writer(tmp_path / "sweep", "a")
    generator = np.random.default_rng(0)
    for seed in range(7):
        changes = {"learning_rate": 5.0 + seed, "widths": [8, 8, 8]} if seed % 2 else {"learning_rate": 5.0}
        record = {"id": f"s-{seed}", "seed": seed, "changes": changes, "accuracy": seed / 10, "diverged": False}
        arrays = {
            "predictions": generator.integers(0, 10, IMAGES).astype(np.uint8),
            "curves": generator.random((EPOCHS, 2)).astype(np.float32),
        }
        error = "no memory" if seed == 6 else None
        writer.add(record | {"error": error, "environment": "e"}, None if error else arrays)
    return tmp_path / "sweep"


@pytest.mark.parametrize("rows", [2, 1000])
def test_networks_and_arrays_are_read_by_others(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rows: int
) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed (pip install '.[report]')")
    import pandas as pd

    monkeypatch.setattr(export, "ROWS", rows)
    file = tmp_path / "networks.parquet"
    assert main([str(sweep), str(file), "--array", "predictions", "--array", "curves"]) == 0
    assert "wrote 6 networks" in capsys.readouterr().out
    results = load(sweep).only(error=None)
    frame = pd.read_parquet(file)
    assert list(frame["seed"]) == list(range(6))
    assert list(frame["set.learning_rate"]) == [5.0, 6.0, 5.0, 8.0, 5.0, 10.0]
    assert list(frame["set.widths"].fillna("")) == ["", "[8, 8, 8]"] * 3
    np.testing.assert_array_equal(np.stack(list(frame["predictions"])), results.array("predictions"))
    with duckdb.connect() as database:
        query = f"select avg(accuracy), sum(predictions[1]), sum(curves[2][1]) from '{file}'"
        (found,) = database.sql(query).fetchall()
    expected = (0.25, results.array("predictions")[:, 0].sum(), results.array("curves")[:, 1, 0].sum())
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert {entry.name for entry in tmp_path.iterdir()} == {"sweep", "networks.parquet"}


def test_settings_of_every_kind_are_exported_with_the_value_that_each_network_had(tmp_path: Path) -> None:
    import pandas as pd

    changes: list[dict[str, Any]] = [
        {"whiten_bias_epochs": 1.0, "epochs": 1, "widths": [8, 8, 8], "flip": "none", "whiten": False},
        {"whiten_bias_epochs": None, "epochs": 2.5},
        {"whiten_bias_epochs": "none"},  # as older versions wrote it
        {"seed_of_another_kind": 1},
    ]
    writer = Writer(tmp_path / "sweep", "a")
    for place, values in enumerate(changes):
        record = {"id": f"s{place}-0", "setting": f"s{place}", "changes": values, "error": None, "environment": "e"}
        writer.add(record | ({"content": "official"} if place else {}))
    recipe = RECIPES["tiny"].flat() | {"seed_of_another_kind": "text"}
    file = tmp_path / "networks.parquet"
    assert export.export(load(tmp_path / "sweep"), file, [], {f"s{place}": recipe for place in range(4)}) == 4
    frame = pd.read_parquet(file)
    assert list(frame["set.whiten_bias_epochs"].fillna(-1)) == [1.0, -1, -1, 1.0]  # tiny's own is 1 epoch
    assert list(frame["set.epochs"]) == [1.0, 2.5, 2.0, 2.0]
    assert list(frame["set.widths"]) == ["[8, 8, 8]"] + ["(8, 8, 8)"] * 3
    assert list(frame["set.flip"]) == ["none"] + ["alternating"] * 3
    assert list(frame["set.whiten"]) == [False, True, True, True]
    assert list(frame["set.seed_of_another_kind"]) == ["text", "text", "text", "1"]
    assert list(frame["content"].fillna("")) == ["", "official", "official", "official"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{sweep}", "{out}", "--array", "logits"], 2, "has no logits: the plan did not keep them"),
        (["{out}", "{out}"], 2, "is not the folder of a sweep"),
        (["{sweep}", "{out}/none/file.parquet"], 1, "/out/none: No such folder"),
    ],
)
def test_what_cannot_be_exported_is_named(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: Any, code: int, message: str
) -> None:
    arguments = [argument.format(sweep=sweep, out=tmp_path / "out") for argument in arguments]
    assert main(arguments) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {"sweep"}


def test_curves_of_different_lengths_are_filled_up_in_every_part_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    for name, epochs in (("a", 2), ("b", 4)):
        record = {"id": f"{name}-0", "changes": {}, "error": None, "environment": "e"}
        Writer(tmp_path / "sweep", name).add(record, {"curves": np.ones((epochs, 2), np.float32)})
    monkeypatch.setattr(export, "ROWS", 1)
    file = tmp_path / "networks.parquet"
    assert main([str(tmp_path / "sweep"), str(file), "--array", "curves", "--array", "curves"]) == 0
    frame = pd.read_parquet(file)
    assert list(frame.columns).count("curves") == 1
    lengths = [sum(bool(np.isfinite(epoch).all()) for epoch in curves) for curves in frame["curves"]]
    assert lengths == [2, 4]
    assert {len(curves) for curves in frame["curves"]} == {4}


def test_networks_with_two_results_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, accuracy in (("a", 0.5), ("b", 0.6)):
        record = {"id": "s-0", "changes": {}, "accuracy": accuracy, "error": None, "environment": "e"}
        Writer(tmp_path / "sweep", name).add(record)
    assert main([str(tmp_path / "sweep"), str(tmp_path / "networks.parquet")]) == 0
    assert "network s-0 was trained twice, with different results" in capsys.readouterr().err


def test_a_link_stays_a_link_and_a_pipe_is_written_to(sweep: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert main([str(sweep), str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink()
    assert pq.read_table(tmp_path / "target").num_rows == 6
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        content = pool.submit(pipe.read_bytes)
        assert main([str(sweep), str(pipe)]) == 0
        assert pq.read_table(pa.BufferReader(content.result(timeout=60))).num_rows == 6
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--licence", "mit"], "--licence goes with --hub alone"),
        (["--hub", "--data", "cifar10"], "--data goes with --onnx alone"),
        (["--onnx", "--array", "logits"], "--array goes with a sweep's results alone"),
        (["--hub", "--mixed"], "--mixed goes with a sweep's results alone"),
    ],
)
def test_a_flag_that_would_change_nothing_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["source", "file", *arguments])
    assert message in capsys.readouterr().err
