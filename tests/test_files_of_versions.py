"""Files that earlier versions wrote still load, and what they hold goes on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import airjax
from airjax.cli import sweep, train
from airjax.sweep.plan import load_plan
from airjax.sweep.store import load, read_plan

FILES = Path(__file__).parent / "files" / "v0.1"


def test_a_model_of_version_0_1_loads() -> None:
    model = airjax.load(FILES / "train" / "model-0.safetensors")
    assert model.recipe == airjax.RECIPES["tiny"].override(
        convs_per_block=3, residual="after-activation", lookahead=False, precision="float32"
    )
    logits = airjax.infer(model, airjax.load_builtin(0, 100).test_images)
    (line,) = (json.loads(text) for text in (FILES / "train" / "runs.jsonl").read_text().splitlines())
    accuracy = (logits.argmax(1) == airjax.load_builtin().test_labels[:100]).mean()
    assert accuracy == pytest.approx(line["accuracy"], abs=0.02)  # on another processor some images change sides


def test_a_sweep_of_version_0_1_loads() -> None:
    found, plan = load(FILES / "sweep"), read_plan(FILES / "sweep")
    assert len(found.rows) == plan["num_runs"] == 16
    assert found.array("predictions").shape == (16, 40)
    assert {row["changes"]["whiten"] for row in found.rows} == {True, False}
    assert np.isfinite(found.array("logits").astype(np.float32)).all()


def test_a_sweep_of_version_0_1_is_resumed_and_nothing_of_it_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    shutil.copytree(FILES / "sweep", out)
    assert len(load_plan(FILES / "plan.toml", "cpu").settings) == 4
    before = read_plan(out)
    assert sweep.main([str(FILES / "plan.toml"), "--out", str(out), "--workers", "1"]) == 0
    assert list(read_plan(out)["settings"]) == list(before["settings"])
    assert len(load(out).rows) == 16
    assert len(list((out / "workers").iterdir())) == 1
    assert "16" in capsys.readouterr().out


def test_a_folder_of_version_0_1_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "train"
    shutil.copytree(FILES / "train", out)
    changes = ["--no-lookahead", "--convs-per-block", "3", "--residual", "after-activation", "--precision", "float32"]
    same = ["--recipe", "tiny", "--data", "builtin", *changes, "--out", str(out), "--mixed"]
    assert train.main(same) == 0
    assert "seed 0: accuracy 12.00%, kept" in capsys.readouterr().out
    assert train.main([*same, "--learning-rate", "3"]) == 2
    assert "holds networks of another recipe (learning-rate 11.5, now 3.0)" in capsys.readouterr().err
