import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airjax.cli.export import export
from airjax.sweep.store import Results, ResultsError, Writer, completed_ids, load, read_plan
from airjax.utils.records import write_json

EXAMPLES = 7


def record(name: str, **changes: Any) -> dict[str, Any]:
    base = {"id": name, "setting": 0, "accuracy": 0.5, "diverged": False, "error": None}
    return base | {"examples": EXAMPLES, "environment": "e1"} | changes


def predictions(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 10, EXAMPLES).astype(np.uint8)


def add(writer: Writer, seed: int, **changes: Any) -> None:
    logits = np.full((EXAMPLES, 10), seed, np.float16)
    writer.add(record(f"run-{seed}", seed=seed, **changes), {"predictions": predictions(seed), "logits": logits})


def test_arrays_come_back_beside_their_records(tmp_path: Path) -> None:
    for name, seeds in (("a", (3, 1)), ("b", (2,))):
        writer = Writer(tmp_path, name)
        for seed in seeds:
            add(writer, seed)
    results = load(tmp_path)
    assert [row["seed"] for row in results.rows] == [3, 1, 2]
    np.testing.assert_array_equal(results.array("predictions"), [predictions(seed) for seed in (3, 1, 2)])
    assert results.array("logits").shape == (3, EXAMPLES, 10)
    assert results.array("logits")[2, 0, 0] == 2
    assert completed_ids(tmp_path) == {"run-1", "run-2", "run-3"}
    assert [row["seed"] for row in results.only(seed=1).rows] == [1]


@pytest.mark.parametrize("cut", range(1, 130, 7))
def test_a_line_cut_off_anywhere_loses_that_network_alone(tmp_path: Path, cut: int) -> None:
    writer = Writer(tmp_path, "a")
    for seed in range(3):
        add(writer, seed)
    log = tmp_path / "workers" / "a" / "runs.jsonl"
    log.write_bytes(log.read_bytes()[:-cut])
    # Losing the line break alone loses nothing.
    assert completed_ids(tmp_path) == {"run-0", "run-1"} | ({"run-2"} if cut == 1 else set())
    np.testing.assert_array_equal(load(tmp_path).array("predictions")[1], predictions(1))


def test_arrays_without_a_line_are_overwritten(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "a")
    add(writer, 0)
    with (writer.folder / "predictions.u8").open("ab") as stream:
        stream.write(b"torn")
    add(writer, 1)
    np.testing.assert_array_equal(load(tmp_path).array("predictions"), [predictions(0), predictions(1)])


def test_a_network_counted_twice_counts_once_and_differences_are_reported(tmp_path: Path) -> None:
    first, second = Writer(tmp_path, "1"), Writer(tmp_path, "2")
    for seed in range(2):
        add(first, seed)
    add(second, 0)
    add(second, 1, accuracy=0.6)
    results = load(tmp_path)
    assert [row["id"] for row in results.rows] == ["run-0", "run-1"]
    assert results.rows[1]["accuracy"] == 0.5
    assert [(c.id, c.first["accuracy"], c.second["accuracy"]) for c in results.conflicts] == [("run-1", 0.5, 0.6)]


def test_networks_without_arrays_are_named(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "a")
    writer.add(record("run-0", error="out of memory"))
    add(writer, 1)
    results = load(tmp_path)
    with pytest.raises(ResultsError, match="run-0 has no predictions: it failed: out of memory"):
        results.array("predictions")
    np.testing.assert_array_equal(results.only(error=None).array("predictions"), [predictions(1)])


def test_a_failure_is_tried_again_and_replaced(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "a")
    writer.add(record("run-0", accuracy=None, error="out of memory"))
    assert completed_ids(tmp_path) == set()
    add(writer, 0)
    results = load(tmp_path)
    assert [(row["error"], row["accuracy"]) for row in results.rows] == [(None, 0.5)]
    assert not results.conflicts


def test_environments_are_not_pooled_unless_asked(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "a")
    add(writer, 0)
    add(writer, 1, environment="e2")
    with pytest.raises(ResultsError, match=r"2 environments \(e1, e2"):
        load(tmp_path)
    assert len(load(tmp_path, mixed=True).rows) == 2


def test_curves_of_different_lengths_are_filled_up(tmp_path: Path) -> None:
    for name, epochs in (("a", 2), ("b", 3)):
        Writer(tmp_path, name).add(record(name), {"curves": np.ones((epochs, 2), np.float32)})
    curves = load(tmp_path).array("curves")
    assert curves.shape == (2, 3, 2)
    assert np.isnan(curves).sum(axis=(1, 2)).tolist() == [2, 0]


def test_a_row_of_another_shape_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "a")
    add(writer, 0)
    with pytest.raises(ValueError, match="cannot take one of"):
        writer.add(record("run-1"), {"predictions": np.zeros(EXAMPLES + 1, np.uint8)})
    assert completed_ids(tmp_path) == {"run-0"}


def test_a_sweep_that_has_just_begun_is_empty(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    assert load(tmp_path).rows == []
    assert load(tmp_path).array("predictions").shape == (0, 0)


def test_a_network_given_up_is_of_no_environment(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "a")
    add(writer, 0)
    writer.add(record("gone", accuracy=None, error="its process died", environment=None))
    assert [row["environment"] for row in load(tmp_path).rows] == ["e1", None]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="is not the folder of a sweep"):
        load(tmp_path)
    with pytest.raises(ResultsError, match=r"has no plan\.json"):
        read_plan(tmp_path)


def test_a_worker_has_a_folder_of_its_own(tmp_path: Path) -> None:
    Writer(tmp_path, "a")
    with pytest.raises(FileExistsError):
        Writer(tmp_path, "a")


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
def test_what_needs_an_extra_that_is_missing_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)  # as where it is not installed
    results = Results([{"id": "a-0", "error": None, "changes": {}}], [])
    with pytest.raises(ImportError, match=rf"needs {missing}, .*: pip install 'airjax\[report\]'"):
        _ = results.table() if missing == "pandas" else export(results, tmp_path / "file", [])


def test_networks_trained_with_other_settings_of_jax_are_of_another_environment() -> None:
    script = "import airjax.training.self_check; print(airjax.training.self_check.fingerprint([]))"

    def fingerprint(**settings: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | settings, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert fingerprint() == fingerprint() != fingerprint(JAX_DEFAULT_MATMUL_PRECISION="bfloat16")


def test_first_seeds_are_kept_as_their_number(tmp_path: Path) -> None:
    plan = {"recipe": "tiny", "num_runs": 2**32, "settings": {}}
    write_json(tmp_path / "plan.json", plan | {"seeds": {"count": 2**32}})
    assert read_plan(tmp_path)["seeds"] == range(2**32)
