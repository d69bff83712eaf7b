"""Networks by the fields of their recipes, from folders of sweeps."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from made_up import write_sweep, write_view

from airjax.sweep.plan import make_plan
from airjax.sweep.store import ResultsError
from experiments.cells import count_finished, read_cells
from experiments.train import is_complete

PLAN = make_plan({"recipe": "tiny", "seeds": 3, "grid": {"flip": ["none", "random"], "epochs": [1.0, 2.0]}}, "cpu")
MORE = make_plan({"recipe": "tiny", "seeds": 4, "grid": {"flip": ["none", "random"], "epochs": [1.0, 2.0]}}, "cpu")
OTHER = make_plan({"recipe": "tiny", "seeds": 3, "grid": {"flip": ["none", "random"], "epochs": [1.0, 3.0]}}, "cpu")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    write_sweep(PLAN, tmp_path / "a", lambda setting, seed: 10 * setting.recipe.epochs + seed)
    return tmp_path / "a"


def test_cells_are_found_by_any_fields(sweep: Path) -> None:
    cells = read_cells([sweep])
    assert cells.networks == 12
    assert cells.content == {"cifar10": "official"}
    assert cells.accuracies(flip="none", epochs=2.0).tolist() == pytest.approx([20, 21, 22])
    assert sorted(cells.accuracies(epochs=1.0)) == pytest.approx([10, 10, 11, 11, 12, 12])
    by_length = cells.by_epochs(flip="none")
    assert {epochs: found.tolist() for epochs, found in by_length.items()} == {
        1.0: pytest.approx([10, 11, 12]),
        2.0: pytest.approx([20, 21, 22]),
    }
    assert cells.one(flip="random", epochs=1.0).recipe.augmentation.flip == "random"
    assert cells.accuracies(widths=(8, 8, 8), data="cifar10").shape == (12,)
    with pytest.raises(ResultsError, match="2 settings have"):
        cells.one(flip="none")
    with pytest.raises(ResultsError, match="no finished network has flip = alternating"):
        cells.having(flip="alternating")


def test_networks_that_are_evaluated_again_count_once(sweep: Path) -> None:
    write_view(sweep, sweep.with_name("a-tta0"), 0, 5.0)
    cells = read_cells([sweep, sweep.with_name("a-tta0")])
    assert cells.networks == 12
    again = cells.accuracies(flip="none", epochs=2.0, tta_level=0)
    np.testing.assert_allclose(again, cells.accuracies(flip="none", epochs=2.0, tta_level=2) + 5)


def test_what_is_not_complete_is_not_analysed(sweep: Path) -> None:
    (runs,) = sweep.glob("workers/*/runs.jsonl")
    lines = runs.read_text().splitlines(keepends=True)
    runs.write_text("".join(lines[:-1]))
    assert count_finished(sweep) == 11
    assert not is_complete(PLAN, sweep)
    with pytest.raises(ResultsError, match="has 11 of 12 networks"):
        read_cells([sweep])


def test_a_folder_is_complete_for_its_own_plan_alone(sweep: Path) -> None:
    assert is_complete(PLAN, sweep)
    assert not is_complete(MORE, sweep)
    assert not is_complete(OTHER, sweep)
    assert not is_complete(dataclasses.replace(PLAN, base="mini"), sweep)
    assert not is_complete(dataclasses.replace(PLAN, seeds=[0, 1, 7]), sweep)
    assert is_complete(dataclasses.replace(PLAN, seeds=[0, 1, 2]), sweep)
    assert not is_complete(PLAN, sweep.with_name("nowhere"))


def test_networks_that_were_trained_twice_with_other_results_are_named(sweep: Path) -> None:
    (runs,) = sweep.glob("workers/*/runs.jsonl")
    lines = [json.loads(line) for line in runs.read_text().splitlines()]
    runs.write_text(runs.read_text() + json.dumps(lines[0] | {"accuracy": 0.9}) + "\n")
    with pytest.raises(ResultsError, match=f"1 networks that were trained twice.*{lines[0]['id']}"):
        read_cells([sweep])


def test_environments_are_not_pooled_unasked(sweep: Path, tmp_path: Path) -> None:
    write_sweep(OTHER, tmp_path / "b", lambda setting, seed: 50.0)
    (runs,) = (tmp_path / "b").glob("workers/*/runs.jsonl")
    lines = [json.loads(line) | {"environment": "elsewhere"} for line in runs.read_text().splitlines()]
    runs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ResultsError, match="2 environments; --mixed"):
        read_cells([sweep, tmp_path / "b"])
    # Of the 24 networks 6 are the same: those of one epoch.
    assert read_cells([sweep, tmp_path / "b"], mixed=True).networks == 18
