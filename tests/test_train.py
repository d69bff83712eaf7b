import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import airjax
from airjax.driver import TrainedRun
from airjax.train import main

TINY = ["--recipe", "tiny", "--data", "builtin"]


def result_of(text: str) -> dict:
    return json.loads(text.splitlines()[-1])


@pytest.mark.usefixtures("small_builtin")
def test_json_result_has_the_promised_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--seeds", "2", "--seed", "5", "--json"]) == 0
    result = result_of(capsys.readouterr().out)
    assert {
        *("recipe", "dataset", "seeds", "accuracy", "mean", "ci95", "target", "target_met"),
        *("seconds", "steps", "params", "flops", "device", "versions"),
    } <= set(result)
    assert result["seeds"] == [5, 6]
    assert result["mean"] == pytest.approx(np.mean(result["accuracy"]))
    assert result["ci95"][0] <= result["mean"] <= result["ci95"][1]
    assert set(result["seconds"]) == {"compile", "whiten", "train", "evaluate"}
    assert result["target_met"] == "not evaluated"


@pytest.mark.usefixtures("small_builtin")
def test_the_builtin_set_never_meets_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--target", "94", "--require-target", "--json"]) == 3
    output = capsys.readouterr().out
    assert result_of(output)["target_met"] == "not evaluated"
    assert "target 94%: not evaluated. This is the builtin data set, not CIFAR-10" in output


@pytest.mark.usefixtures("small_builtin")
def test_without_cifar10_the_result_itself_carries_the_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airjax.data.download.SOURCES", ("http://127.0.0.1:1/none.tar.gz",))
    assert main(["--recipe", "tiny", "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: cannot download CIFAR-10")
    result = result_of(captured.out)
    assert result["dataset"] == "builtin"
    assert "Using the builtin data set" in result["warnings"][0]


@pytest.mark.usefixtures("small_builtin")
def test_plain_lines_show_a_table_of_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TINY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[-1].strip() == "seconds"
    rows = [line.split() for line in lines[2:4]]
    assert [row[:2] for row in rows] == [["0", "0"], ["0", "1"]]
    assert [len(row) for row in rows] == [6, 7]
    assert "compile" in lines[4]
    assert "\x1b" not in "".join(lines)


@pytest.mark.usefixtures("small_builtin")
def test_quiet_prints_the_result_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.usefixtures("small_builtin")
def test_overrides_change_the_recipe_and_are_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main([*TINY, "--epochs", "0.25", "--flip", "none", "--no-lookahead", "--widths", "8", "8", "8", "--json"]) == 0
    )
    result = result_of(capsys.readouterr().out)
    assert result["steps"] == 2
    assert result["changed"] == {"epochs": 0.25, "flip": "none", "lookahead": False, "precision": "float32"}


@pytest.mark.usefixtures("small_builtin")
def test_out_holds_runs_recipe_environment_and_models_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toy: airjax.Dataset
) -> None:
    out = tmp_path / "runs"
    assert main([*TINY, "--out", str(out), "--json"]) == 0
    first = result_of(capsys.readouterr().out)
    names = {file.name for file in out.iterdir()}
    assert names == {"runs.jsonl", "recipe.json", "environment.json", "model-0.safetensors"}
    assert json.loads((out / "recipe.json").read_text())["name"] == "tiny"
    assert json.loads((out / "environment.json").read_text())["versions"]["jax"]
    assert airjax.evaluate(airjax.load(out / "model-0.safetensors"), toy) == first["accuracy"][0]

    assert main([*TINY, "--out", str(out), "--seeds", "2", "--json"]) == 0
    output = capsys.readouterr().out
    assert "seed 0: accuracy" in output
    assert "kept from" in output
    assert result_of(output)["accuracy"][0] == first["accuracy"][0]
    assert len((out / "runs.jsonl").read_text().splitlines()) == 2

    assert main([*TINY, "--out", str(out), "--momentum", "0.5"]) == 2
    assert "holds runs of another recipe or data set" in capsys.readouterr().err
    assert len((out / "runs.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "97"], "unknown recipe '97'; the recipes are 94, 95"),
        (["--target", "97"], "invalid choice: '97'"),
        (["--recipe", "tiny", "--seeds", "0"], "seeds is 0, but at least 1"),
        (["--recipe", "tiny", "--seed", "-1"], "seed is -1"),
        (["--recipe", "tiny", "--group", "0"], "group is 0, but at least 1"),
        (["--recipe", "tiny", "--data", "builtin", "--precision", "float64"], "JAX_ENABLE_X64=1"),
        (["--recipe", "tiny", "--data-dir", "/nonexistent/place"], "/nonexistent/place does not exist. Put"),
    ],
)
@pytest.mark.usefixtures("small_builtin")
def test_bad_input_exits_with_2_and_says_why(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "many"], "many"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--flip", "upside-down"], "upside-down"),
        (["--strategy", "luck"], "luck"),
        (["--learning-rate", "-1"], "learning-rate is -1.0, but it must be a number more than 0"),
        (["--batch-size", "1000"], "batch-size is 1000, but there are only 256"),
    ],
)
def test_arguments_that_do_not_fit_exit_with_2_and_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main([*TINY, *arguments])
    assert raised.value.code == 2
    assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().err).split())


@pytest.mark.usefixtures("small_builtin")
def test_an_unwritable_out_fails_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main([*TINY, "--out", str(tmp_path / "file" / "runs")]) == 2
    captured = capsys.readouterr()
    assert "cannot write to --out" in captured.err
    assert captured.out == ""
    (tmp_path / "recipe.json").write_text("{")
    assert main([*TINY, "--out", str(tmp_path)]) == 2
    assert "recipe.json is damaged" in capsys.readouterr().err


@pytest.mark.usefixtures("small_builtin")
def test_divergence_exits_with_1_and_keeps_what_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--learning-rate", "1e9", "--bias-scale", "1e6", "--out", str(tmp_path)]) == 1
    assert "the loss is not finite at step" in capsys.readouterr().err


@pytest.mark.usefixtures("small_builtin")
def test_several_networks_at_once_are_the_same_and_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--out", str(tmp_path / "one"), "--seeds", "3", "--quiet"]) == 0
    together = [*TINY, "--out", str(tmp_path / "many"), "--strategy", "vmap", "--group", "2", "--quiet"]
    assert main([*together, "--seeds", "1"]) == 0
    assert main([*together, "--seeds", "3", "--json"]) == 0
    assert set(result_of(capsys.readouterr().out)["seconds"]) == {"compile", "whiten", "train", "evaluate"}
    logs = [(tmp_path / name / "runs.jsonl").read_text().splitlines() for name in ("one", "many")]
    one, many = ([json.loads(line) for line in log] for log in logs)
    for first, second in zip(one, many, strict=True):
        assert first["seed"] == second["seed"]
        assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-5)
        assert first["accuracy"] == pytest.approx(second["accuracy"], abs=0.011)  # one image of 100
    names = {file.name for file in (tmp_path / "many").glob("*.safetensors")}
    assert names == {f"model-{seed}.safetensors" for seed in range(3)}


@pytest.mark.usefixtures("small_builtin")
def test_ctrl_c_keeps_what_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airjax.driver import train as real

    def interrupted(recipe: airjax.Recipe, data: airjax.Dataset, seed: int, **rest: object) -> TrainedRun:
        if seed == 1:
            raise KeyboardInterrupt
        return real(recipe, data, seed, **rest)

    monkeypatch.setattr("airjax.train.train", interrupted)
    arguments = [*TINY, "--seeds", "3", "--strategy", "sequential", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 130
    captured = capsys.readouterr()
    assert "interrupted after 1 of 3 networks" in captured.err
    assert result_of(captured.out)["seeds"] == [0]
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 1


def test_a_real_interrupt_of_a_real_process_keeps_finished_runs(tmp_path: Path) -> None:
    # A process started in the background inherits interrupts switched off; this one must hear them all the same.
    script = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "runpy.run_module('airjax.train', run_name='__main__')"
    )
    command = [sys.executable, "-c", script, *TINY, "--seeds", "1000", "--out", str(tmp_path), "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as training:
        log, deadline = tmp_path / "runs.jsonl", time.monotonic() + 120
        while not (log.exists() and log.read_text().count("\n") >= 2) and time.monotonic() < deadline:
            time.sleep(0.05)
        training.send_signal(signal.SIGINT)
        try:
            output, error = training.communicate(timeout=60)
        finally:
            training.kill()
    assert training.returncode == 130
    finished = int(re.search(r"interrupted after (\d+) of 1000", error)[1])
    assert finished == len(log.read_text().splitlines()) >= 2
    assert f"mean of {finished}" in output


def test_help_explains_every_field_with_the_recipes_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--target", "95", "--help"])
    assert raised.value.code == 0
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert "May be fractional. (default: 15.0)" in text
    assert "Side of the square set to the mean colour, in pixels" in text
    for flag in ("--seeds", "--require-target", "--whiten-bias-epochs", "--tta-level", "--data-dir"):
        assert flag in text


@pytest.mark.slow
def test_a_second_start_finds_everything_compiled(tmp_path: Path) -> None:
    def start(cache: Path) -> tuple[dict, str]:
        environment = {
            k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "JAX_COMPILATION_CACHE_DIR")
        }
        command = [sys.executable, "-m", "airjax.train", *TINY, "--quiet", "--json"]
        environment |= {"AIRJAX_CACHE": str(cache)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return result_of(done.stdout), done.stderr

    first, said = start(tmp_path / "cache")
    kept = {file.name for file in (tmp_path / "cache" / "compiled").rglob("*-cache")}
    again, said_again = start(tmp_path / "cache")
    assert kept == {file.name for file in (tmp_path / "cache" / "compiled").rglob("*-cache")} != set()
    assert again["accuracy"] == first["accuracy"]
    assert again["seconds"]["compile"] < 0.7 * first["seconds"]["compile"]
    assert said == said_again
    assert "cpu_aot_loader" not in said_again
    (tmp_path / "file").write_text("")
    assert start(tmp_path / "file")[0]["accuracy"] == first["accuracy"]


def test_a_terminal_shows_a_live_bar(tmp_path: Path) -> None:
    import pty

    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "airjax.train", *TINY, "--seeds", "3", "--strategy", "sequential"]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=secondary, stderr=secondary, env=environment) as training:
        os.close(secondary)
        shown = b""
        while True:
            try:
                part = os.read(primary, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(primary)
    text = shown.decode()
    assert training.returncode == 0
    assert re.search(r"step \d+/16", text)
    assert "images/s" in text
    assert "tiny on builtin: accuracy" in text
