import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from airjax.cli.console import run_main

def main():
    for line in range(200_000):
        print("line", line)
    print("done", file=sys.stderr)
    return 0

run_main(main, keep_running=sys.argv[1] == "keep")
"""


def run_into_closed_pipe(mode: str) -> tuple[int, str]:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    return done.returncode, done.stderr


def test_a_closed_pipe_ends_a_program_silently_as_sigpipe_would() -> None:
    assert run_into_closed_pipe("stop") == (141, "")


def test_a_program_that_keeps_running_says_once_that_its_output_is_lost() -> None:
    code, errors = run_into_closed_pipe("keep")
    assert (code, errors) == (0, "warning: output lost (Broken pipe); going on without it\ndone\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("mode", "errors"),
    [
        ("stop", "error: cannot write the output: No space left on device\n"),
        ("keep", "warning: output lost (No space left on device); going on without it\ndone\n"),
    ],
)
def test_a_full_disk_is_an_exit_code_of_its_own(mode: str, errors: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, mode], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (74, errors)


def test_a_warning_to_users_is_one_line() -> None:
    script = """
import sys, warnings
from airjax.cli.console import run_main

def main():
    warnings.warn("the index is damaged")
    warnings.warn("no words for users", RuntimeWarning)
    return 0

run_main(main)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("warning: the index is damaged\n<string>:7: RuntimeWarning: no words")


@pytest.mark.parametrize(
    ("body", "code", "output", "errors"),
    [
        ("print('Ä \\u732b \\udcff'); return 3", 3, "\\xc4 \\u732b \\udcff\n", ""),
        ("raise KeyboardInterrupt", 130, "", "interrupted\n"),
        ("print('help'); raise SystemExit(0)", 0, "help\n", ""),
    ],
)
def test_ascii_terminals_interrupts_and_exits(body: str, code: int, output: str, errors: str) -> None:
    script = f"from airjax.cli.console import run_main\ndef main():\n    {body}\nrun_main(main)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, output, errors)


def test_a_closed_standard_output_is_no_failure() -> None:
    script = "from airjax.cli.console import run_main\nrun_main(lambda: print('x') or 0)"
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" >&-', sys.executable, script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
