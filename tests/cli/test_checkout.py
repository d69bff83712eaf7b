"""The doors to what is beside airjax, with and without a checkout."""

from pathlib import Path

import pytest

from airjax.cli import checkout, experiments, records


@pytest.mark.parametrize("door", [experiments, records])
def test_without_a_checkout_the_command_says_where_it_is(
    door: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main, command = door.main, door.DOOR.command  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    assert main(["fig1"], f"airjax {command}") == 2
    assert f"clone the repository and run python -m airjax {command} there" in capsys.readouterr().err
    assert main(["table1", "--workers", "2", "--data-dir", "DIR"], f"airjax {command}") == 2
    assert "clone the repository" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        main(["--help"], f"airjax {command}")
    assert raised.value.code == 0
    assert "Needs a checkout" in capsys.readouterr().out


def test_a_folder_of_that_name_elsewhere_is_none_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install '.[report]')")
    assert checkout.find_program(experiments.DOOR) is not None
    (tmp_path / "experiments").mkdir()
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    assert checkout.find_program(experiments.DOOR) is None


def test_in_a_checkout_the_names_are_those_of_the_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install '.[report]')")
    with pytest.raises(SystemExit) as raised:
        experiments.main(["fig9"], "airjax experiments")
    assert raised.value.code == 2
    assert "'fig1'" in capsys.readouterr().err
