"""Tab completion, asked of the shells themselves."""

import os
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from airjax.cli.completion import main

ASKED = {
    "airjax re": ["recipes", "records", "report"],
    "airjax train --fl": ["--flip"],
    "airjax train --widths 8 8 8 --require": ["--require-target"],
    "airjax train --flip ": ["alternating", "alternating-hash", "none", "random"],
    "airjax train --crop-sampling ": ["joint", "low-discrepancy", "random", "without-replacement"],
    "airjax train --recipe 9": [
        *("94", "94-airjax", "94-curriculum", "94-hiverge", "94-muon", "95", "96", "96-faster", "96-paper"),
    ],
    "airjax train --target ": ["94", "95", "96"],
    "airjax train --track t": ["tensorboard", "trackio"],
    "airjax export model.safetensors model.onnx --on": ["--onnx"],
    "airjax sweep plan.toml --strategy v": ["vmap", "vmap-matmul"],
    "airjax sweep st": ["status"],
    "airjax sweep pl": ["plan.toml"],
    "airjax report ru": ["runs"],
    "airjax records verify 94-": ["94-airjax", "94-curriculum", "94-hiverge", "94-muon"],
    "airjax data --data sy": ["synthetic"],
    "airjax train --data pl": ["plan.toml"],
    "airjax export runs out.parquet --array l": ["logits"],
    "airjax completion ": ["bash", "fish", "zsh"],
    "airjax recipes --x": [],
}
BASH = """source {script}
complete -p airjax >&2
cd {folder}
while IFS= read -r line; do
  read -ra COMP_WORDS <<<"$line"
  [[ $line == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) COMPREPLY=()
  _shtab_airjax 2>/dev/null
  echo "${{COMPREPLY[*]}}"
done
"""


def written(shell: str, file: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main([shell]) == 0
    file.write_text(capsys.readouterr().out)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a plan and a sweep's folder."""
    (tmp_path / "here" / "runs").mkdir(parents=True)
    (tmp_path / "here" / "plan.toml").touch()
    return tmp_path / "here"


def ask(command: list[str], **options: object) -> list[list[str]]:
    text = "".join(f"{line}\n" for line in ASKED)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, **options)  # pyright: ignore
    return [sorted(set(line.split())) for line in done.stdout.splitlines()]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_flags_and_values(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = written("bash", tmp_path / "airjax.bash", capsys)
    program = BASH.format(script=shlex.quote(str(script)), folder=shlex.quote(str(folder)))
    assert dict(zip(ASKED, ask(["bash", "--norc", "-c", program]), strict=True)) == ASKED


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_commands_flags_and_values(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = written("fish", tmp_path / "airjax.fish", capsys)
    answer = "echo (complete -C $line | cut -f1 | string trim --right --chars /)"
    program = f"source {shlex.quote(str(script))}; while read line; {answer}; end"
    found = ask(["fish", "--no-config", "-c", program], cwd=folder)
    asked = {line: words for line, words in ASKED.items() if line[-1] != " "}  # `read` drops a space at the end
    assert {line: words for line, words in zip(ASKED, found, strict=True) if line in asked} == asked


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("airjax doct", b"airjax doctor"),
        ("airjax train --fl", b"train --flip"),
        ("airjax train --recipe 96-p", b"--recipe 96-paper"),
        ("airjax sweep st", b"sweep status"),
    ],
)
def test_zsh_completes_commands_flags_and_values(
    typed: str, completed: bytes, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written("zsh", tmp_path / "_airjax", capsys)
    assert completed in press_tab(tmp_path, folder, typed, completed)


def press_tab(functions: Path, folder: Path, typed: str, expected: bytes) -> bytes:
    """What zsh shows after these keys and Tab, until it shows what is expected or some seconds are over."""
    import pty

    primary, secondary = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder)}
    start = f"fpath=({shlex.quote(str(functions))} $fpath); autoload -U compinit; compinit -D -u; print -n rea''dy"
    with subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=secondary, stdout=secondary, stderr=secondary, cwd=folder, env=environment
    ) as shell:
        os.close(secondary)
        os.write(primary, start.encode() + b"\n")
        read_until(primary, b"ready")
        os.write(primary, typed.encode() + b"\t")
        shown = read_until(primary, expected)
        shell.kill()
    os.close(primary)
    return shown


def read_until(descriptor: int, expected: bytes, seconds: float = 20) -> bytes:
    shown, end = b"", time.monotonic() + seconds
    while expected not in shown and time.monotonic() < end:
        if select.select([descriptor], [], [], 0.1)[0]:
            shown += os.read(descriptor, 65536)
    return shown
