"""Options that would change nothing are refused in a line: whoever wrote one expects something of it."""

from collections.abc import Callable

import pytest

from airjax.cli import export, prepare, train
from benchmarks import record_cli
from experiments import cli as experiments

Main = Callable[[list[str]], int]
TINY = ["--recipe", "tiny", "--data", "synthetic"]


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (train.main, ["--recipe", ""], "unknown recipe ''"),
        (train.main, [*TINY, "--strategy", "sequential", "--group", "4"], "group is 4, but with strategy sequential"),
        (train.main, [*TINY, "--devices", "1", "--group", "4"], "group is 4, but with strategy sequential"),
        (train.main, [*TINY, "--mixed"], "mixed needs --out DIR"),
        (train.main, [*TINY, "--track-project", "study"], "track-project is of trackio and wandb"),
        (prepare.main, ["tree", "--out", "out", "--kind", "raw", "--quality", "50"], "--quality is of JPEG"),
        (experiments.main, ["fig1", "--workers", "3"], "--workers is of training, and fig1 trains nothing"),
        (experiments.main, ["fig1", "--precision", "float32"], "--precision is of training, and fig1 trains nothing"),
        (experiments.main, ["table1", "--analyse", "--chunk", "3"], "--chunk is of training, and --analyse trains"),
        (experiments.main, ["table1", "--analyse", "--dry-run"], "--dry-run is of training, and --analyse trains"),
        (experiments.main, ["list", "--workers", "3"], "--workers is of an experiment; leave it out of list"),
        (experiments.main, ["list", "--keep"], "--keep is of an experiment; leave it out of list"),
        (experiments.main, ["page", "--scale", "paper"], "--scale is of an experiment; leave it out of page"),
        (record_cli.main, ["--seed", "0"], "--seed is of python -m airjax records verify NAME"),
        (record_cli.main, ["--results", "nope"], "there is no nope/accuracy.jsonl"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(
    main: Main, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert (captured.err.count("\n"), captured.out) == (1, "")


def test_an_empty_option_of_another_export_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        export.main(["source", "file", "--licence", ""])
    assert "--licence goes with --hub alone" in capsys.readouterr().err
