"""`--devices` and `--coordinator`: one training in several processes on this machine."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tree_files import write_tree

from airjax.cli.train import main
from airjax.cli.train_options import UsageError, parse
from airjax.data.builtin import load_builtin
from airjax.utils.records import read_lines
from tests.device_scripts import environment_of, free_port, run_on_devices

SMALL = ["--train-examples", "64", "--test-examples", "20", "--widths", "4", "4", "4", "--whiten-examples", "50"]
METHOD = ["--recipe", "tiny", *SMALL, "--epochs", "30", "--whiten-bias-epochs", "None"]  # two steps in an epoch

TREE_METHOD = [  # two steps in an epoch, of 21 images
    *["--recipe", "imagenet-resnet18-16", "--widths", "8", "8", "8", "8", "--batch-size", "8", "--epochs", "16"],
    *["--ramp-first", "32", "--ramp-last", "32", "--ramp-multiple", "16", "--test-sizes", "32", "48", "--workers", "1"],
    "--no-validate-epochs",  # each would start decoders anew
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 and 20 images in a file."""
    file, data = tmp_path_factory.mktemp("images") / "few.npz", load_builtin(64, 20)
    train, test = {"x_train": data.train_images, "y_train": data.train_labels}, {"x_test": data.test_images}
    np.savez(file, **train, **test, y_test=data.test_labels, classes=np.array(data.classes))
    return file


def start(
    images: Path, out: Path, devices: int, flags: Sequence[str], method: Sequence[str] = METHOD
) -> subprocess.Popen[str]:
    """Start a training that sees so many devices."""
    command = [sys.executable, "-m", "airjax.train", *method, "--data", str(images), "--out", str(out), *flags]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment_of(devices), **pipes)


def start_two(
    images: Path, out: Path, *flags: str, others: Sequence[str] = (), method: Sequence[str] = METHOD
) -> list[subprocess.Popen[str]]:
    """Start a training in two processes with two devices each; the second has other flags, too."""
    meeting = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2"]
    own = (["--process-id", "0"], ["--process-id", "1", *others])
    return [start(images, out, 2, [*meeting, *flags, *number], method) for number in own]


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Wait for processes; returns status, output, without that of the CPU's library of collectives, and errors."""
    said = [process.communicate(timeout=900) for process in processes]
    kept = ["".join(line for line in out.splitlines(keepends=True) if "[Gloo]" not in line) for out, _ in said]
    return [(one.returncode, out, errors) for one, out, (_, errors) in zip(processes, kept, said, strict=True)]


def wait_for(condition: Callable[[], Any], processes: Sequence[subprocess.Popen[str]]) -> None:
    """Wait until a condition holds, while the processes run."""
    while not condition():
        assert all(process.poll() is None for process in processes), finish(processes)
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.nightly
def test_two_processes_train_the_network_of_one_and_resume_to_the_same_bits(images: Path, tmp_path: Path) -> None:
    whole, cut, single = (tmp_path / name for name in ("whole", "cut", "single"))
    first, second = finish(start_two(images, whole))
    assert (first[0], second[0], second[1]) == (0, 0, ""), (first, second)
    assert "accuracy" in first[1]
    ((status, _, errors),) = finish([start(images, single, 4, ["--devices", "4", "--seeds", "2"])])
    assert status == 0, errors
    (together,), (alone, other) = read_lines(whole / "runs.jsonl"), read_lines(single / "runs.jsonl")
    # In float32, whose sums have another order; 1e-7 was seen. Another seed is another training.
    assert together["loss_of_first_steps"] == pytest.approx(alone["loss_of_first_steps"], rel=1e-5)
    assert together["loss_of_first_steps"] != pytest.approx(other["loss_of_first_steps"], rel=1e-3)
    (environment,) = read_lines(whole / "environments.jsonl")
    assert (environment["network_devices"], environment["processes"]) == (4, 2)

    processes = start_two(images, cut, "--checkpoint-every", "1")
    wait_for(lambda: list(cut.glob("snapshots/*/2")), processes)
    processes[1].send_signal(signal.SIGTERM)  # one alone: both stop after the same step
    stopped = finish(processes)
    assert [status for status, _, _ in stopped] == [143, 143], stopped
    assert "which is kept; 0 of 1 networks are finished" in stopped[0][2]
    resumed = finish(start_two(images, cut, "--checkpoint-every", "1"))
    assert [status for status, _, _ in resumed] == [0, 0], resumed
    assert (cut / "model-0.safetensors").read_bytes() == (whole / "model-0.safetensors").read_bytes()
    assert not list(cut.glob("snapshots/*"))


@pytest.mark.slow
@pytest.mark.nightly
def test_two_processes_learn_from_a_tree_of_images_and_resume_to_the_same_bits(tmp_path: Path) -> None:
    for package in ("cv2", "grain", "simplejpeg"):
        pytest.importorskip(package)
    tree, whole, cut, single = (tmp_path / name for name in ("tree", "whole", "cut", "single"))
    write_tree(tree)
    told = finish(start_two(tree, whole, method=TREE_METHOD))
    assert [status for status, _, _ in told] == [0, 0], told
    ((status, _, errors),) = finish([start(tree, single, 4, ["--devices", "4", "--seeds", "2"], TREE_METHOD)])
    assert status == 0, errors
    losses = [
        {line["seeds"][0]: line["train_loss"] for line in read_lines(out / "epochs.jsonl") if line["epoch"] == 1}
        for out in (whole, single)
    ]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-5)  # 1e-7 was seen, and rounding grows from there
    assert losses[0][0] != pytest.approx(losses[1][1], rel=1e-2)

    processes = start_two(tree, cut, "--checkpoint-every", "1", method=TREE_METHOD)
    wait_for(lambda: list(cut.glob("snapshots/*/*")), processes)
    processes[0].send_signal(signal.SIGTERM)
    stopped = finish(processes)
    assert [status for status, _, _ in stopped] == [143, 143], stopped
    (kept,) = cut.glob("snapshots/*")
    taken = {snapshot.name for snapshot in kept.iterdir()}
    processes = start_two(tree, cut, "--checkpoint-every", "1", method=TREE_METHOD)
    wait_for(lambda: {snapshot.name for snapshot in kept.iterdir()} - taken, processes)
    processes[1].kill()  # as a host that is lost
    assert all(status != 0 for status, _, _ in finish(processes))
    resumed = finish(start_two(tree, cut, "--checkpoint-every", "1", method=TREE_METHOD))
    assert [status for status, _, _ in resumed] == [0, 0], resumed
    assert (cut / "model-0.safetensors").read_bytes() == (whole / "model-0.safetensors").read_bytes()


@pytest.mark.slow
def test_an_image_that_one_process_cannot_decode_ends_both(tmp_path: Path) -> None:
    for package in ("cv2", "grain", "simplejpeg"):
        pytest.importorskip(package)
    tree = write_tree(tmp_path / "tree")
    broken = tree / "train" / "n01" / "00.JPEG"
    broken.write_bytes(broken.read_bytes()[:-99])
    told = finish(start_two(tree, tmp_path / "out", method=TREE_METHOD))
    assert all(status != 0 for status, _, _ in told), told
    assert any("00.JPEG" in errors and "and so do the others" in errors for _, _, errors in told), told
    assert not (tmp_path / "out" / "runs.jsonl").exists()


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_one(images: Path, tmp_path: Path) -> None:
    processes = start_two(images, tmp_path, "--checkpoint-every", "1")
    wait_for(lambda: list(tmp_path.glob("snapshots/*/2")), processes)
    processes[1].kill()
    (status, _, errors), _ = finish(processes)
    assert status not in (0, None)
    assert "process 0 ends" in errors or "coordination" in errors.lower()
    assert not (tmp_path / "runs.jsonl").exists()


@pytest.mark.slow
def test_processes_that_would_train_different_things_are_refused(images: Path, tmp_path: Path) -> None:
    told = finish(start_two(images, tmp_path / "seeds", others=["--seed", "7"]))
    assert [status for status, _, _ in told] == [2, 2], told
    assert all("process 1 has a recipe, data, options or versions that differ" in errors for _, _, errors in told)
    told = finish(start_two(images, tmp_path / "data", others=["--image-size", "4"]))
    assert [status for status, _, _ in told] == [2, 2], told
    assert "process 1 cannot train; what it printed says why" in told[0][2]
    assert "need at least 9" in told[1][2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--devices", "0"], "devices is 0, but it must be a number of devices from 1, or all"),
        (["--devices", "two"], "'two' is no whole number, nor all"),
        (["--devices", "2", "--strategy", "vmap"], "strategy is vmap, but devices share the batches of one network"),
        (["--processes", "2"], "processes needs --coordinator HOST:PORT"),
        (["--process-id", "0"], "process-id needs --coordinator HOST:PORT"),
        (["--coordinator", "here"], "coordinator is 'here', but it must be host:port"),
        (["--coordinator", "a:1"], "needs processes, their number, and process-id"),
        (["--coordinator", "a:1", "--processes", "2", "--process-id", "2"], "numbered from 0 to 1"),
        (["--coordinator", "auto", "--processes", "2"], "auto finds out the processes by itself"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(flags)


def test_devices_make_networks_one_after_another_and_processes_use_all_devices() -> None:
    options, _ = parse(["--devices", "4", "--seeds", "3"])
    assert (options.devices, options.strategy) == (4, "sequential")
    options, _ = parse(["--coordinator", "a:1", "--processes", "2", "--process-id", "1"])
    assert (options.devices, options.strategy) == ("all", "sequential")
    options, _ = parse([])
    assert (options.devices, options.strategy) == (None, "auto")


@pytest.mark.usefixtures("small_builtin")
def test_more_devices_than_there_are_end_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--recipe", "tiny", "--data", "builtin", "--devices", "1000", "--out", str(tmp_path / "out")]) == 2
    assert "devices is 1000, but JAX sees only" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_batches_that_devices_cannot_share_end_before_anything_is_written(images: Path, tmp_path: Path) -> None:
    run_on_devices(
        3,
        f"""
import contextlib, io, pathlib
from airjax.cli.train import main
said, out = io.StringIO(), pathlib.Path({str(tmp_path / "out")!r})
with contextlib.redirect_stderr(said):
    assert main([*{METHOD!r}, "--data", {str(images)!r}, "--devices", "all", "--out", str(out)]) == 2
assert "batch-size is 32, which 3 devices cannot share equally" in said.getvalue(), said.getvalue()
assert not out.exists()
""",
    )
