"""The door to the experiments, with and without a checkout."""

from pathlib import Path

import pytest

from airjax.cli import experiments


def test_without_a_checkout_the_command_says_where_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiments, "_find_experiments", lambda: None)
    assert experiments.main(["fig1"], "airjax experiments") == 2
    assert "clone the repository" in capsys.readouterr().err
    assert experiments.main(["table1", "--workers", "2", "--data-dir", "DIR"], "airjax experiments") == 2
    assert "clone the repository" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        experiments.main(["--help"], "airjax experiments")
    assert raised.value.code == 0
    assert "Needs a checkout" in capsys.readouterr().out


def test_a_folder_of_that_name_elsewhere_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    assert experiments._find_experiments(tmp_path) is None
    assert experiments._find_experiments() is not None


def test_in_a_checkout_the_names_are_those_of_the_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install '.[report]')")
    with pytest.raises(SystemExit) as raised:
        experiments.main(["fig9"], "airjax experiments")
    assert raised.value.code == 2
    assert "'fig1'" in capsys.readouterr().err
