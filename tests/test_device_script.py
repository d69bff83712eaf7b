"""The script for a device that is at hand for minutes: what is measured survives whatever ends it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import device, device_archive, device_machine, device_parts, device_process
from benchmarks.device_parts import Part
from parity.gpu import gpu_name

ROOT = Path(__file__).parent.parent
COMMIT = "0123456789ab"
LIMIT = 64 * 2**20  # bytes that may travel to a device in one call
PATIENT = ("--time-factor", "20")  # the limits are for a real device; the tests' machine may be busy with others


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the source without .git, as it travels to a device."""
    for name in ("airjax", "parity", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("AIRJAX_COMMIT", COMMIT)
    return tmp_path / "copy"


def script(tmp_path: Path, *arguments: str) -> list[str]:
    folders = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    return [sys.executable, "-m", "benchmarks.device", *arguments, "--recipe", "tiny", *folders]


def run(copy: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(script(tmp_path, *arguments), cwd=copy, capture_output=True, text=True, check=False)


def packed(tmp_path: Path) -> dict[str, bytes]:
    with tarfile.open(tmp_path / "out" / "results.tgz") as archive:
        found = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        return {name: stream.read() for name, stream in found.items() if stream}


def passed_parts(tmp_path: Path) -> list[str]:
    rows = [json.loads(line) for line in packed(tmp_path)["parts.jsonl"].splitlines()]
    return [row["part"] for row in rows if row["status"] == "passed"]


def kill_during(copy: Path, tmp_path: Path, part: str, *arguments: str) -> None:
    """Start the script, and kill it a moment after the part has started."""
    with subprocess.Popen(script(tmp_path, *arguments), cwd=copy, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if f"{part} " in line and "starts" in line:
                time.sleep(1.0)
                process.kill()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.nightly
def test_what_is_measured_survives_a_kill_and_a_rerun_resumes(copy: Path, tmp_path: Path) -> None:
    parts = ["--part", "rates", "--part", "losses"]
    kill_during(copy, tmp_path, "losses", "1", *parts, *PATIENT)
    assert passed_parts(tmp_path) == ["rates"]
    [line] = packed(tmp_path)["lines/rates.jsonl"].splitlines()
    assert json.loads(line)["matmul_rate"] > 1e8
    assert json.loads(line)["commit"] == COMMIT
    # On another machine, from the archive alone.
    archive = tmp_path / "carried.tgz"
    (tmp_path / "out" / "results.tgz").rename(archive)
    other = tmp_path / "other"
    done = run(copy, other, "1", *parts, *PATIENT, "--resume", str(archive))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rates         passed (recorded)" in done.stdout
    assert passed_parts(other) == ["rates", "losses"]
    assert len(packed(other)["lines/rates.jsonl"].splitlines()) == 1
    [line] = packed(other)["lines/losses.jsonl"].splitlines()
    assert json.loads(line)["passed"]
    assert (other / "out" / "results.tgz").stat().st_size < LIMIT


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("call", ["1", "2", "3", "4"])
def test_every_part_can_be_killed(call: str, copy: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    parts = device_parts.make_parts("tiny", tmp_path, False, ())
    names = [part.name for part in parts if str(part.call) == call and part.name != "parity"]
    data = ["--data", "builtin", *PATIENT]
    for count, name in enumerate(names):
        kill_during(copy, tmp_path, name, call, *data)
        assert passed_parts(tmp_path) == names[:count] if count else not (tmp_path / "out" / "results.tgz").exists()
        only = [argument for earlier in names[: count + 1] for argument in ("--part", earlier)]
        done = run(copy, tmp_path, call, *data, *only)
        assert done.returncode == 0, done.stdout + (tmp_path / "work" / "logs" / f"{name}.log").read_text()
    assert passed_parts(tmp_path) == names
    assert (tmp_path / "out" / "results.tgz").stat().st_size < LIMIT


@pytest.mark.slow
@pytest.mark.nightly
def test_a_study_without_time_is_brought_out_as_far_as_it_is(copy: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    arguments = ["4", "--part", "parity", "--data", "builtin", "--seconds"]
    first: list[bytes] = []
    # Time for the least that a part of it is worth starting for; more where a busy machine trains nothing in that.
    for seconds in ("80", "160", "320"):
        assert run(copy, tmp_path, *arguments, seconds).returncode == device.EXIT_INCOMPLETE
        first = packed(tmp_path)["parity-tiny.jsonl"].splitlines()
        if len(first) > 2:
            break
    assert len(first) > 2
    archive = tmp_path / "carried.tgz"
    (tmp_path / "out" / "results.tgz").rename(archive)
    run(copy, tmp_path / "other", *arguments, seconds, "--resume", str(archive))
    second = packed(tmp_path / "other")["parity-tiny.jsonl"].splitlines()
    assert len(second) > len(first)
    assert second[: len(first)] == first


def test_parts_without_time_or_data_are_left_and_said_so(copy: Path, tmp_path: Path) -> None:
    done = run(copy, tmp_path, "2", "--seconds", "20")
    assert done.returncode == device.EXIT_INCOMPLETE
    lines = done.stdout.splitlines()
    parts = device_parts.make_parts("tiny", tmp_path, gpu_name() is not None, ())
    assert [line.split(" s  ")[1].split()[0] for line in lines[1:]] == [part.name for part in parts if part.call == 2]
    assert "accuracy      no data (needs --data)" in lines[1]
    autotuning = run(copy, tmp_path, "4", "--part", "autotuning", "--seconds", "20")
    assert "autotuning    no time (needs 40 s, " in autotuning.stdout
    assert not (tmp_path / "out" / "results.tgz").exists()
    slow = run(copy, tmp_path, "4", "--part", "autotuning", "--seconds", "20", "--time-factor", "2")
    assert "autotuning    no time (needs 80 s, " in slow.stdout
    never = run(copy, tmp_path, "2", "--time-factor", "0")
    assert never.returncode == device.EXIT_USAGE
    assert "--time-factor is 0, but it must be above 0" in never.stderr
    wrong = run(copy, tmp_path, "1", "--part", "speed")
    assert wrong.returncode == device.EXIT_USAGE
    assert "--part is 'speed', but it must be one of doctor, rates" in wrong.stderr
    assert run(copy, tmp_path, "1", "--resume", str(tmp_path / "none.tgz")).returncode == device.EXIT_USAGE


def python(tmp_path: Path, text: str, limit: float = 20, grace: float = 0.5) -> tuple[int, bool]:
    command = [sys.executable, "-c", text]
    return device_process.run_limited(command, tmp_path, dict(os.environ), tmp_path / "log", limit, grace)


def test_a_part_is_interrupted_and_then_killed(tmp_path: Path) -> None:
    assert python(tmp_path, "print('done')") == (0, False)
    assert python(tmp_path, "raise SystemExit(3)") == (3, False)
    assert (tmp_path / "log").read_text() == "done\n"
    # It saves what it has when it is interrupted.
    saves = "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('saved')"
    assert python(tmp_path, saves, limit=1.0) == (0, True)
    assert (tmp_path / "log").read_text() == "done\nsaved\n"
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    assert python(tmp_path, deaf, limit=1.0) == (-signal.SIGKILL, True)


def test_what_a_part_has_started_ends_with_it(tmp_path: Path) -> None:
    child = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid)"
    assert python(tmp_path, child) == (0, False)
    number = int((tmp_path / "log").read_text())
    for _ in range(50):
        state = Path(f"/proc/{number}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail(f"process {number} is still there")


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["passed", "passed"], device.EXIT_OK),
        (["passed", "undecided"], device.EXIT_UNDECIDED),
        (["no time", "undecided"], device.EXIT_INCOMPLETE),
        (["timed out", "passed"], device.EXIT_INCOMPLETE),
        (["no data", "failed"], device.EXIT_FAILED),
    ],
)
def test_exit_codes_tell_failed_from_incomplete_from_undecided(statuses: list[str], code: int) -> None:
    assert device.exit_code(statuses) == code


@pytest.mark.parametrize(("code", "status"), [(0, "passed"), (3, "undecided"), (1, "failed")])
def test_a_part_that_decides_nothing_has_not_failed(code: int, status: str, tmp_path: Path) -> None:
    part = Part("study", 3, 20, ("-c", f"raise SystemExit({code})"), undecided=3)
    row = device.run_part(part, 20, tmp_path, "a commit", gpu=False)
    assert (row["status"], row["code"]) == (status, code)


def test_the_record_is_of_one_device_commit_and_recipe(tmp_path: Path) -> None:
    place = {"device": "a GPU", "commit": "c1", "recipe": "94"}
    device.append(tmp_path / "parts.jsonl", {"part": "step", "status": "failed", **place})
    with (tmp_path / "parts.jsonl").open("a") as stream:
        stream.write('{"part": "torn", "sta')
    device.append(tmp_path / "parts.jsonl", {"part": "step", "status": "passed", **place})
    assert device.read_statuses(tmp_path, place) == {"step": "passed"}
    assert device.read_statuses(tmp_path, place | {"commit": "c2"}) == {}
    # A trial on drawn images is none on CIFAR-10.
    device.append(tmp_path / "parts.jsonl", {"part": "run", "status": "passed", "data": "synthetic", **place})
    assert device.read_statuses(tmp_path, place, "cifar10") == {"step": "passed"}
    assert device.read_statuses(tmp_path, place, "synthetic") == {"step": "passed", "run": "passed"}
    assert device.read_statuses(tmp_path, place) == {"step": "passed", "run": "passed"}


def test_a_part_of_another_call_is_no_call_that_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert device.main(["2", "--part", "run", "--data", "synthetic", *folders]) == 2
    assert "--part run is of call 3, not of call 2" in capsys.readouterr().err


def test_an_archive_is_not_replaced_by_what_lacks_its_parts(tmp_path: Path) -> None:
    first, second, archive = tmp_path / "first", tmp_path / "second", tmp_path / "results.tgz"
    for work, part in ((first, "rates"), (second, "step")):
        work.mkdir()
        device.append(work / "parts.jsonl", {"part": part})
    device_archive.write_archive(first, archive, limit=2**20)
    for required in (True, False):
        with pytest.raises(device_archive.ArchiveError, match=r"has parts that .* has not; give another --work"):
            device_archive.restore(archive, second, required=required)
    assert not device_archive.restore(archive, first, required=True)
    assert device_archive.restore(archive, tmp_path / "empty", required=True)
    assert (tmp_path / "empty" / "parts.jsonl").read_bytes() == (first / "parts.jsonl").read_bytes()


def test_an_archive_that_is_cut_short_is_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, archive = tmp_path / "work", tmp_path / "results.tgz"
    (work / "lines").mkdir(parents=True)
    (work / "lines" / "rates.jsonl").write_text("".join(f'{{"a": {number}}}\n' for number in range(9999)))
    device_archive.write_archive(work, archive, limit=2**22)
    archive.write_bytes(archive.read_bytes()[:-2000])
    assert device.main(["--keep", str(archive)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_an_archive_holds_what_is_measured_and_as_many_caches_as_fit(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "lines").mkdir(parents=True)
    (work / "caches").mkdir()
    (work / "lines" / "rates.jsonl").write_text('{"a": 1}\n{"to')
    (work / "caches" / "kernel.json").write_bytes(os.urandom(2**20))  # such as Triton's
    os.utime(work / "caches" / "kernel.json", (9, 9))
    (work / "caches" / "autotune.txtpb").write_text("chosen")
    (work / "accuracy").mkdir()
    (work / "accuracy" / "runs.jsonl").write_text('{"seed": 0}\n')
    for number in range(2):  # networks: what else the parts wrote goes last
        (work / "accuracy" / f"model-{number}.safetensors").write_bytes(os.urandom(2**19))
        os.utime(work / "accuracy" / f"model-{number}.safetensors", (number, number))
    for number in range(4):
        (work / "caches" / f"program-{number}").write_bytes(os.urandom(2**20))
        os.utime(work / "caches" / f"program-{number}", (number, number))
    archive = tmp_path / "results.tgz"
    device_archive.write_archive(work, archive, limit=7 * 2**19)
    caches = ["caches/kernel.json", "caches/program-3", "caches/program-2"]
    with tarfile.open(archive) as found:
        names = found.getnames()
    assert set(names[:3]) == {"lines/rates.jsonl", "accuracy/runs.jsonl", "caches/autotune.txtpb"}
    assert names[3:] == caches
    assert archive.stat().st_size < 7 * 2**19
    device_archive.write_archive(work, archive, limit=3 * 2**18)
    with tarfile.open(archive) as found:
        assert set(found.getnames()) == {*names[:3], "accuracy/model-1.safetensors"}
    assert archive.stat().st_size < 3 * 2**18
    assert {file.name for file in tmp_path.iterdir()} == {"work", "results.tgz"}
    # Its whole lines come into our results, once.
    (tmp_path / "results").mkdir()
    assert device_archive.keep_lines(archive, tmp_path / "results") == {"rates.jsonl": 1}
    assert device_archive.keep_lines(archive, tmp_path / "results") == {}
    assert (tmp_path / "results" / "rates.jsonl").read_text() == '{"a": 1}\n'


def test_the_source_has_a_name_where_git_does_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "airjax").mkdir()
    monkeypatch.delenv("AIRJAX_COMMIT", raising=False)
    first = device_machine.source_name(tmp_path)
    (tmp_path / "airjax" / "new.py").write_text("pass")
    assert first.startswith("source-")
    assert device_machine.source_name(tmp_path) != first
    monkeypatch.setenv("AIRJAX_COMMIT", "0123456789ab")
    assert device_machine.source_name(tmp_path) == "0123456789ab"
    environment: dict[str, Any] = device_machine.environment_of(tmp_path / "work", tmp_path, "0123456789ab", gpu=True)
    assert environment["AIRJAX_COMMIT"] == "0123456789ab"
    assert environment["XLA_FLAGS"].endswith("--xla_gpu_dump_autotune_results_to=work/caches/autotune.txtpb")


def test_a_call_s_parts_fit_into_its_time() -> None:
    parts = device_parts.make_parts("94", Path("work"), True, ())
    time = device.make_parser().parse_args([]).seconds - device.GRACE - device.ENDING
    for call in (1, 2, 3):
        assert sum(part.seconds for part in parts if part.call == call) <= time
    # The study takes what is left of the last one, and goes on from there.
    *last, study = (part for part in parts if part.call == 4)
    assert study.name == "parity"
    assert sum(part.seconds for part in last) + (study.least or study.seconds) <= time
    assert all((part.least or part.seconds) <= part.seconds for part in parts)
    # Half of CIFAR-10, 48 MiB, and the archive of the call before travel together.
    assert device.make_parser().parse_args([]).archive_mib * 2**20 + 48 * 2**20 <= LIMIT
