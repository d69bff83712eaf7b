"""The command line's answers to what it cannot do."""

from pathlib import Path

import pytest
from made_up import write_sweep, write_view

from experiments import cli
from experiments.forecast import forecast
from experiments.registry import EXPERIMENTS
from experiments.views import view_folder


def test_an_experiment_without_that_scale_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fig1", "--scale", "paper", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: fig1 has no paper scale; leave --scale out\n"


def test_a_dry_run_says_the_cost_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table1", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "0 of 600 networks finished; all: 5.4" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_another_precision_is_another_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table1", "--precision", "bfloat16", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "0 of 600 networks finished" in capsys.readouterr().out
    assert cli.main(["precision", "--precision", "bfloat16", "--dry-run", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "error: precision compares precisions; leave --precision out\n"
    folders = [cli.folder_of(EXPERIMENTS["table1"], "cpu", tmp_path, precision) for precision in (None, "bfloat16")]
    assert [folder.name for folder in folders] == ["table1", "table1-bfloat16"]


def test_list_names_what_this_version_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--scale", "paper", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "0 of 400 networks finished" in shown
    assert "fig1" not in shown  # which has one scale, the other


def test_a_forecast_counts_networks_that_are_evaluated_again(tmp_path: Path) -> None:
    found = forecast(EXPERIMENTS["table4"], "cpu", tmp_path)
    assert (found.planned, found.finished, found.again, found.evaluated) == (1600, 0, 1600, 0)
    assert "0 of 1,600 networks finished, 0 of 1,600 evaluated again; all: " in found.text
    part = next(EXPERIMENTS["table4"].parts("cpu", tmp_path))
    write_sweep(part.load(), tmp_path / part.name, lambda setting, seed: 40.0)
    write_view(tmp_path / part.name, view_folder(tmp_path / part.name, part.views[0]), part.views[0], 1.0)
    found = forecast(EXPERIMENTS["table4"], "cpu", tmp_path)
    assert (found.finished, found.evaluated) == (1000, 1000)


def test_training_options_are_those_of_a_sweep() -> None:
    from airjax.cli.sweep import make_parser

    options = cli.make_parser("x").parse_args(["table1", "--workers", "2", "--checkpoint-every", "3", "--chunk", "4"])
    words = cli._sweep_options(options)
    assert words == ("--workers", "2", "--chunk", "4", "--checkpoint-every", "3")
    assert make_parser("x").parse_args(["plan.toml", "--out", "o", *words]).checkpoint_every == 3


def test_figure_1_needs_no_data_and_no_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fig1", "--results", str(tmp_path)]) == 0
    assert "| inputs in two epochs of alternating flip | 2.00 N |  |  | 2.00 N | agrees |" in capsys.readouterr().out
    assert (tmp_path / "fig1-cpu.png").exists()


@pytest.mark.parametrize(
    ("name", "option", "more"),
    [("table1", "--results", []), ("table1", "--out", []), ("fig1", "--results", ["--analyse"])],
)
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_done(
    name: str,
    option: str,
    more: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it trains or analyses")

    monkeypatch.setattr(cli, "train_parts", fail)
    monkeypatch.setattr(cli, "Context", fail)
    (tmp_path / "a.png").touch()
    assert cli.main([name, option, str(tmp_path / "a.png" / "x"), *more]) == 2
    assert f"cannot write to {option} {tmp_path / 'a.png' / 'x'}" in capsys.readouterr().err


def test_another_name_is_refused_with_the_names_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["table9"])
    assert "'table2'" in capsys.readouterr().err


def test_options_of_a_sweep_are_refused_where_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table3", "--workers", "2", "--out", str(tmp_path)]) == 2
    assert "--workers is of a sweep, but airjax train trains the networks of table3" in capsys.readouterr().err
