import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.cli import train, train_folder
from airjax.cli.train import main
from airjax.cli.train_options import parse
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.loop import DivergedError, TrainedRun
from airjax.utils.records import lock_folder, read_lines

TINY = ["--recipe", "tiny", "--data", "builtin"]


def result_of(text: str) -> dict:
    return json.loads(text.splitlines()[-1])


@pytest.mark.usefixtures("small_builtin")
def test_json_result_has_the_promised_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--seeds", "2", "--seed", "5", "--json"]) == 0
    result = result_of(capsys.readouterr().out)
    assert {
        *("recipe", "dataset", "content", "seeds", "accuracy", "mean", "ci95", "expected", "target", "target_met"),
        *("seconds", "steps", "params", "flops", "mixed", "warnings", "device", "settings", "versions"),
    } <= set(result)
    assert result["seeds"] == [5, 6]
    assert result["mean"] == pytest.approx(np.mean(result["accuracy"]))
    assert result["ci95"][0] <= result["mean"] <= result["ci95"][1]
    assert set(result["seconds"]) == {"compile", "whiten", "train", "evaluate"}
    assert result["target_met"] == "not evaluated"
    assert result["content"] == "unknown"  # only a part of the synthetic dataset


@pytest.mark.usefixtures("small_builtin")
def test_the_synthetic_dataset_never_meets_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--target", "94", "--require-target", "--json"]) == 3
    output = capsys.readouterr().out
    assert result_of(output)["target_met"] == "not evaluated"
    assert "target 94%: not evaluated. This is the synthetic dataset, not CIFAR-10" in output


@pytest.mark.usefixtures("small_builtin", "no_network")
def test_without_cifar10_the_result_itself_carries_the_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--recipe", "tiny", "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: ")
    assert "Using the synthetic dataset instead" in captured.err
    assert captured.err.count("\n") == 1
    result = result_of(captured.out)
    assert result["dataset"] == "synthetic"
    assert f"warning: {result['warnings'][0]}\n" == captured.err


@pytest.mark.usefixtures("small_builtin")
def test_a_training_takes_the_precision_that_pays_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train_folder, "bfloat16_pays", lambda recipe: True)
    out = ["--out", str(tmp_path / "out")]
    assert main([*TINY, *out]) == 0
    assert "synthetic, bfloat16 on " in capsys.readouterr().out
    monkeypatch.setattr(train_folder, "bfloat16_pays", lambda recipe: False)
    assert main([*TINY, *out]) == 0  # goes on in what it was begun in
    assert "kept from" in capsys.readouterr().out
    assert main([*TINY, *out, "--precision", "float32"]) == 2
    assert "holds networks of another recipe (precision bfloat16, now float32)" in capsys.readouterr().err
    assert main(TINY) == 0
    assert "synthetic, float32 on " in capsys.readouterr().out


@pytest.mark.usefixtures("small_builtin")
def test_plain_lines_say_that_it_compiles_and_show_a_table_of_epochs_from_1_in_percent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*TINY, "--seeds", "2", "--strategy", "sequential"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("recipe tiny, 16 steps, 5,048 parameters, synthetic, ")
    assert lines[1] == "seed 0: compiling"
    assert re.fullmatch(r"seed 0: compiled in [\d.]+ m?s", lines[2])
    table = [line for line in lines if not re.match("seed [01]: compiled in", line)]
    assert table[2].split("  ")[-1].strip() == "seconds"
    rows = [line.split() for line in table[3:5]]
    assert [row[:2] for row in rows] == [["0", "1"], ["0", "2"]]
    assert [len(row) for row in rows] == [6, 7]
    assert all(re.fullmatch(r"\d+\.\d\d%", cell) for row in rows for cell in row[3:-1])
    assert re.match(r"seed 0: accuracy \d+\.\d\d%; compile .*; 1 of 2 networks, about [\d.]+ s left$", table[5])
    assert re.match(r"seed 1: accuracy \d+\.\d\d%; compile .*; 2 of 2 networks$", table[8])
    assert table[9].startswith("tiny on synthetic: accuracy ")
    assert "\x1b" not in "".join(lines)


@pytest.mark.usefixtures("small_builtin")
def test_quiet_prints_the_result_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.usefixtures("small_builtin")
def test_validation_images_take_the_place_of_the_test_split(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--recipe", "tiny", "--data", "synthetic", "--quiet", "--json", "--validation", "40"]
    assert main([*arguments, "--target", "94", "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    result = result_of(output)
    described = {name: result[name] for name in ("split", "classes", "channels", "image_size", "resized", "target_met")}
    assert described == {
        "split": "validation",
        "classes": 10,
        "channels": 3,
        "image_size": 32,
        "resized": 0,
        "target_met": "not evaluated",
    }
    assert "tiny on synthetic, validation images: accuracy" in output
    assert json.loads((tmp_path / "recipe.json").read_text())["split"] == "validation"
    assert (result["accuracy"][0] * 40) % 1 == pytest.approx(0, abs=1e-6)
    assert main([*TINY, "--quiet", "--out", str(tmp_path)]) == 2
    assert "holds networks of another" in capsys.readouterr().err


@pytest.mark.usefixtures("small_builtin")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--validation", "0"], "validation is 0, but it must be a number of training examples from 1"),
        (["--validation", "291"], "validation is 291, but only 290 of its 300 training examples can be held out"),
        (["--image-size", "64"], "image-size is 64, but the images of builtin keep theirs; only your own are scaled"),
        (
            ["--data", "nowhere"],
            "data is 'nowhere', but there is no data set of that name (cifar10, cifar100, ",
        ),
        (["--data", "x" * 5000], "(5,000 characters) cannot be read: File name too long"),
    ],
)
def test_data_that_cannot_be_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


@pytest.mark.usefixtures("small_builtin")
def test_overrides_change_the_recipe_and_are_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main([*TINY, "--epochs", "0.25", "--flip", "none", "--no-lookahead", "--widths", "8", "8", "8", "--json"]) == 0
    )
    result = result_of(capsys.readouterr().out)
    assert result["steps"] == 2
    assert result["changed"] == {"epochs": 0.25, "flip": "none", "lookahead": False, "precision": "float32"}


@pytest.mark.usefixtures("small_builtin")
def test_out_holds_runs_recipe_environments_and_models_and_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toy: airjax.Dataset
) -> None:
    out = tmp_path / "runs"
    assert main([*TINY, "--out", str(out), "--json"]) == 0
    first = result_of(capsys.readouterr().out)
    names = {file.name for file in out.iterdir()}
    logs = {"runs.jsonl", "epochs.jsonl", "environments.jsonl"}
    assert names == {*logs, "recipe.json", "model-0.safetensors", "outputs", "lock"}
    assert json.loads((out / "recipe.json").read_text())["name"] == "tiny"
    assert json.loads((out / "environments.jsonl").read_text())["versions"]["jax"]
    assert airjax.evaluate(airjax.load(out / "model-0.safetensors"), toy) == first["accuracy"][0]

    assert main([*TINY, "--out", str(out), "--seeds", "2", "--json"]) == 0
    output = capsys.readouterr().out
    assert f"seed 0: accuracy {first['accuracy'][0]:.2%}, kept from {out}" in output
    assert result_of(output)["accuracy"][0] == first["accuracy"][0]
    assert len((out / "runs.jsonl").read_text().splitlines()) == 2

    for _ in range(2):  # the second time without the file that names the recipe
        assert main([*TINY, "--out", str(out), "--momentum", "0.5"]) == 2
        assert f"error: {out} holds networks of another recipe" in capsys.readouterr().err
        (out / "recipe.json").unlink(missing_ok=True)
    assert len((out / "runs.jsonl").read_text().splitlines()) == 2


@pytest.mark.usefixtures("small_builtin")
def test_a_network_whose_file_is_gone_is_trained_again_and_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*TINY, "--out", str(tmp_path), "--seeds", "2", "--quiet", "--json"]
    assert main(command) == 0
    first = result_of(capsys.readouterr().out)
    file = tmp_path / "model-1.safetensors"
    content = file.read_bytes()
    file.unlink()
    assert main(command) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(f"warning: seed 1 is trained again: {file} does not exist")
    assert result_of(captured.out)["accuracy"] == first["accuracy"]
    assert file.read_bytes() == content


@pytest.mark.usefixtures("small_builtin")
def test_a_second_training_into_the_same_folder_is_stopped_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock_folder(tmp_path):
        assert main([*TINY, "--out", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: another process is writing to {tmp_path}; wait for it, or choose another --out\n"
    assert captured.out == ""
    assert not (tmp_path / "runs.jsonl").exists()


@pytest.mark.usefixtures("small_builtin")
def test_networks_of_another_environment_are_pooled_only_with_mixed_and_the_result_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*TINY, "--out", str(tmp_path), "--quiet", "--json"]
    assert main(command) == 0
    log = tmp_path / "environments.jsonl"
    log.write_text(log.read_text().replace(f'"jax": "{jax.__version__}"', '"jax": "0.0.1"'))
    runs = tmp_path / "runs.jsonl"
    here = json.loads(log.read_text())["environment"]
    for file in (log, runs):
        file.write_text(file.read_text().replace(here, "another"))
    assert main([*command, "--seeds", "2"]) == 2
    assert f"another environment (versions.jax: 0.0.1, {jax.__version__})" in capsys.readouterr().err
    assert main([*command, "--seeds", "2", "--mixed"]) == 0
    output = capsys.readouterr().out
    assert f"networks of different environments (versions.jax: 0.0.1, {jax.__version__})" in output
    assert result_of(output)["mixed"] == {"versions.jax": ["0.0.1", jax.__version__]}
    assert [line["environment"] for line in read_lines(runs)] == ["another", here]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "97"], "unknown recipe '97'; the recipes are 94, 95"),
        (["--recipe"], "argument --recipe: expected one argument"),
        (["--target", "97"], "invalid choice: '97'"),
        (["--seeds", "0"], "seeds is 0, but it must be a number of networks from 1 to 1000000"),
        (["--seeds", "100000000000"], "seeds is 100000000000, but it must be a number of networks from 1 to 1000000"),
        (["--seed", "-1"], "seed is -1, but it must be a whole number from 0 to 4294967295"),
        (["--seed", "4294967295", "--seeds", "2"], "seed is 4294967296, but it must be"),
        (["--seed", "1.5"], "--seed: '1.5' is not a whole number (--help"),
        (["--tta-level", "true"], "--tta-level: 'true' is not a whole number (--help"),
        (["--group", "x"], "--group: 'x' is neither None nor a whole number (--help"),
        (["--group", "0"], "group is 0, but at least 1"),
        (["--precision", "float64"], "JAX_ENABLE_X64=1"),
        (["--data-dir", "/nonexistent/place", "--data", "cifar10"], "/nonexistent/place does not exist. Put"),
        (["--epochs", "many"], "--epochs: 'many' is not a number (--help explains every flag)"),
        (["--no-such-flag"], "Unrecognized options: --no-such-flag (--help"),
        (["--precison", "float32"], "Unrecognized options: --precison, float32; perhaps you meant --precision (--help"),
        (["--flip", "upside-down"], "invalid choice 'upside-down' for argument '--flip'"),
        (["--strategy", "luck"], "invalid choice 'luck' for argument '--strategy'"),
        (["--widths", "8"], "Missing value for argument '--widths'. Expected 3 values (--help"),
        (["--widths", "8", "x", "8"], "--widths: '8', 'x', '8' are not all whole numbers (--help"),
        (["--whiten-bias-epochs", "x"], "--whiten-bias-epochs: 'x' is neither None nor a number (--help"),
        (["--learning-rate", "-1"], "learning-rate is -1.0, but it must be a number more than 0"),
        (["--batch-size", "1000"], "batch-size is 1000, but there are only 256"),
        (
            ["--schedule-drops", "0.5"],
            "schedule-drops is set, but the recipe's schedule is triangle, which has no such",
        ),
        (
            ["--recipe", "resnet18", "--no-whiten"],
            "whiten is set, but the recipe's network is resnet18, which has no such",
        ),
        (["--recipe", "resnet18", "--bias-scale=2"], "leave it out, or choose a recipe whose optimizer is nesterov"),
        (["--recipe", "resnet18", "--widths", "8", "8", "8"], "argument '--widths'. Expected 4 values (--help"),
        (["--recipe", "resnet18", "--lookahead-every", "9"], "lookahead-every is set, but the recipe has no averaging"),
    ],
)
@pytest.mark.usefixtures("small_builtin")
def test_bad_input_is_one_line_and_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert (captured.err.count("\n"), captured.out) == (1, "")


def test_flags_are_those_of_the_chosen_recipe_s_parts() -> None:
    arguments = "--recipe resnet18 --widths 8 16 32 64 --schedule-drops 0.5 0.75 --learning-rate 0.05 --lookahead"
    options, name = parse(arguments.split())
    assert name == "resnet18"
    assert options.method == RECIPES["resnet18"].override(
        widths=(8, 16, 32, 64), schedule_drops=(0.5, 0.75), learning_rate=0.05, lookahead=True
    )


def test_a_value_that_is_called_like_a_field_is_no_flag() -> None:
    options, name = parse(["--recipe", "resnet18", "--out", "./whiten_epsilon"])
    assert (name, options.out) == ("resnet18", Path("whiten_epsilon"))


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
def test_divergence_exits_with_1_and_counts_steps_and_epochs_from_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--learning-rate", "1e9", "--bias-scale", "1e6", "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    step, epoch = map(int, re.search(r"the loss is not finite at step (\d+) of 16 \(epoch (\d) of 2\)", error).groups())
    assert epoch == (step - 1) // 8 + 1
    again = "or momentum; rerunning the same command ends in the same; 0 of 1 networks are finished"
    assert error.rstrip().endswith(again)


@pytest.mark.usefixtures("small_builtin")
def test_a_network_that_diverges_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = train.train

    def train_all_but_one(recipe: Recipe, data: airjax.Dataset, seed: int, **how: Any) -> TrainedRun:
        if seed == 1:
            raise DivergedError(recipe, seed, 3)
        return real(recipe, data, seed, **how)

    monkeypatch.setattr(train, "train", train_all_but_one)
    command = [*TINY, "--seeds", "3", "--strategy", "sequential", "--out", str(tmp_path), "--json"]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: seed 1: the loss is not finite at step 4 of 16 (epoch 1 of 2); lower")
    assert captured.err.rstrip().endswith("; 2 of 3 networks are finished")
    told = [line for line in captured.out.splitlines() if line.startswith("seed")]
    assert [line.rpartition("; ")[2] for line in told[-2:]] == ["2 of 3 networks", "3 of 3 networks"]
    result = result_of(captured.out)
    assert (result["seeds"], result["diverged"], result["target_met"]) == ([0, 2], [1], "not evaluated")
    assert "; without 1 that diverged" in captured.out
    assert [line["seed"] for line in read_lines(tmp_path / "runs.jsonl")] == [0, 2]


@pytest.mark.usefixtures("small_builtin")
def test_a_network_that_cannot_be_saved_is_reported_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model-1.safetensors").mkdir()
    command = [*TINY, "--seeds", "3", "--strategy", "sequential", "--out", str(tmp_path), "--quiet", "--json"]
    assert main(command) == 1
    captured = capsys.readouterr()
    file = tmp_path / "model-1.safetensors"
    assert captured.err.startswith(f"error: {file}: Is a directory; 2 of 3 networks are finished; rerunning")
    assert result_of(captured.out)["seeds"] == [0, 1]
    assert [line["seed"] for line in read_lines(tmp_path / "runs.jsonl")] == [0]


@pytest.mark.parametrize("strategy", ["vmap", pytest.param("interleaved", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("small_builtin")
def test_several_networks_at_once_are_the_same_and_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], strategy: str
) -> None:
    assert main([*TINY, "--out", str(tmp_path / "one"), "--seeds", "3", "--quiet"]) == 0
    many = [*TINY, "--out", str(tmp_path / "many")]
    assert main([*many, "--seeds", "1", "--quiet"]) == 0
    capsys.readouterr()
    assert main([*many, "--seeds", "3", "--strategy", strategy, "--group", "2", "--json"]) == 0
    output = capsys.readouterr().out
    assert set(result_of(output)["seconds"]) == {"compile", "whiten", "train", "evaluate"}
    lines = output.splitlines()
    assert "seeds 1 to 2: compiling" in lines
    assert [line.split()[:2] for line in lines if line.lstrip().startswith("1-2 ")] == [["1-2", "1"], ["1-2", "2"]]
    assert [line[:6] for line in lines if line.endswith((" 1 of 2 networks", " 2 of 2 networks"))] == [
        "seed 1",
        "seed 2",
    ]
    logs = [(tmp_path / name / "runs.jsonl").read_text().splitlines() for name in ("one", "many")]
    one, many = ([json.loads(line) for line in log] for log in logs)
    for first, second in zip(one, many, strict=True):
        assert first["seed"] == second["seed"]
        assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-5)
        assert first["accuracy"] == pytest.approx(second["accuracy"], abs=0.011)  # one image of 100
    names = {file.name for file in (tmp_path / "many").glob("*.safetensors")}
    assert names == {f"model-{seed}.safetensors" for seed in range(3)}


def test_a_real_interrupt_of_a_real_process_keeps_finished_runs(tmp_path: Path) -> None:
    # A process started in the background inherits interrupts switched off; this one must hear them all the same.
    script = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "runpy.run_module('airjax.train', run_name='__main__')"
    )
    command = [sys.executable, "-c", script, *TINY, "--seeds", "1000", "--out", str(tmp_path), "--quiet", "--json"]
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
    said = r"stopped after step \d+ of \d+, which is kept; (\d+) of 1000 networks are finished; rerunning the same "
    found = re.search(said + "command resumes in " + re.escape(str(tmp_path)), error)
    assert found is not None, error
    finished = int(found[1])
    assert result_of(output)["seeds"] == [line["seed"] for line in read_lines(log)] == list(range(finished))
    assert finished >= 2
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
@pytest.mark.nightly
def test_a_second_start_finds_everything_compiled(tmp_path: Path) -> None:
    def start(cache: Path, **more: str) -> tuple[dict, str]:
        environment = {
            k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "JAX_COMPILATION_CACHE_DIR")
        }
        command = [sys.executable, "-m", "airjax.train", *TINY, "--quiet", "--json"]
        environment |= {"AIRJAX_CACHE": str(cache)} | more
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
    if "cpu_aot_loader" not in start(tmp_path / "cache", TF_CPP_MIN_LOG_LEVEL="0")[1]:
        pytest.skip("XLA has nothing to say of programs on this processor, so that nothing was kept silent")


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
    assert "\x1b[" in text
    assert re.search(r"seed 0\), compiling, 0:0\d", text)
    assert re.search(r"step \d+ of 16", text)
    assert "network 2 of 3" in text
    assert "tiny on synthetic: accuracy" in text


def run_training(*arguments: str, **environment: str) -> tuple[int, str]:
    # With a standard output that nobody reads.
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "airjax.train", *TINY, *arguments]
    done = subprocess.run(
        command, stdout=write, stderr=subprocess.PIPE, text=True, env=os.environ | environment, check=False
    )
    os.close(write)
    return done.returncode, done.stderr


def test_without_a_reader_training_stops_and_says_so(tmp_path: Path) -> None:
    code, errors = run_training()
    assert code == 141
    assert errors == "stopped: nothing reads the output any more; with --out DIR training would go on\n"


def test_without_a_reader_training_goes_on_where_its_networks_are_kept(tmp_path: Path) -> None:
    code, errors = run_training("--seeds", "2", "--out", str(tmp_path))
    assert (code, errors) == (0, "warning: output lost (Broken pipe); going on without it\n")
    assert sorted(line["seed"] for line in read_lines(tmp_path / "runs.jsonl")) == [0, 1]


@pytest.mark.parametrize("environment", [{"JAX_PLATFORMS": "cuda,abacus"}, {"JAX_DISABLE_JIT": "1"}])
def test_a_jax_that_cannot_compute_is_one_line_and_exits_with_2(environment: dict[str, str]) -> None:
    code, errors = run_training(**environment)
    assert code == 2
    assert errors.startswith("error: JAX")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=[pytest.mark.slow, pytest.mark.nightly])],
)
def test_a_signal_writes_a_snapshot_and_the_same_command_goes_on_to_the_same_bits(
    tmp_path: Path, number: int, code: int
) -> None:
    # Steps that a slow machine cannot do all before the signal, and that are done soon.
    long = [*TINY, "--epochs", "150", "--train-examples", "64", "--widths", "4", "4", "4", "--checkpoint-every", "10"]
    command = [sys.executable, "-m", "airjax.train", *long, "--quiet", "--json", "--out"]
    whole = subprocess.run([*command, str(tmp_path / "whole")], capture_output=True, text=True, check=True)
    cut = [*command, str(tmp_path / "cut")]
    with subprocess.Popen(cut, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as training:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("cut/snapshots/*/[0-9]*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        training.send_signal(number)
        _, error = training.communicate(timeout=60)
    if training.returncode != 0:  # else it was done before the signal
        assert training.returncode == code, error
        assert re.search(r"stopped after step \d+ of 300, which is kept; 0 of 1 networks are finished", error)
        assert "rerunning the same command resumes in" in error
    resumed = subprocess.run(cut, capture_output=True, text=True, check=True)
    both = [json.loads(done.stdout.splitlines()[-1]) for done in (whole, resumed)]
    assert both[0]["loss_of_last_steps"] == both[1]["loss_of_last_steps"]
    models = [airjax.load(tmp_path / name / "model-0.safetensors") for name in ("whole", "cut")]
    jax.tree.map(np.testing.assert_array_equal, models[0].variables, models[1].variables)
    assert list((tmp_path / "cut" / "snapshots").iterdir()) == []


@pytest.mark.usefixtures("small_builtin")
def test_a_network_that_cannot_be_written_is_not_trained_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = [*TINY, "--epochs", "3", "--checkpoint-every", "1", "--quiet", "--out", str(tmp_path)]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "model-0.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(train, "keep_run", full)
        assert main(command) == 1
    assert "rerunning the same command resumes" in capsys.readouterr().err
    assert list(tmp_path.glob("snapshots/*/[0-9]*"))
    assert main(command) == 0
    assert [line["epoch"] for line in read_lines(tmp_path / "epochs.jsonl")] == [1, 2, 3, 3]
    assert not list(tmp_path.glob("snapshots/*"))


def test_checkpoints_need_a_folder_and_whole_epochs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*TINY, "--checkpoint-every", "1"]) == 2
    assert "checkpoint-every needs --out DIR, where snapshots are kept" in capsys.readouterr().err
    assert main([*TINY, "--checkpoint-every", "0", "--out", str(tmp_path)]) == 2
    assert "checkpoint-every is 0, but it must be a number of epochs from 1" in capsys.readouterr().err
