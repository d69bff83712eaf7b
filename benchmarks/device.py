"""Everything that is claimed of a device, measured on one that is at hand for minutes at a time.

    python3 -m benchmarks.device 1 --out DIR                # no data needed
    python3 -m benchmarks.device 2 --out DIR --data CIFAR10
    python3 -m benchmarks.device 3 --out DIR --data CIFAR10
    python3 -m benchmarks.device 4 --out DIR --data CIFAR10
    python3 -m benchmarks.device --keep DIR/results.tgz     # afterwards: its lines into benchmarks/results

Each call runs parts (benchmarks/device_parts.py) one after another, each under its own time limit, until all are done
or the call's time is used up. After each part DIR/results.tgz has all that is measured so far, logs, and the compilers'
caches; it is replaced atomically. Rerunning resumes: a part that is recorded for this device, commit and recipe is
skipped. On another machine, `--resume results.tgz` carries in what an earlier call brought out.

Exit codes: 0: every part is done. 1: a part failed. 2: bad usage. 3: a part is done, but decides nothing. 4: parts are
left: not started, timed out, or without data. 130: interrupted. Where several hold: 1 before 4 before 3.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.device_archive import PARTS, keep_lines, restore, write_archive
from benchmarks.device_machine import device_name, environment_of, source_name
from benchmarks.device_parts import Part, make_parts, with_more_time
from benchmarks.device_process import run_limited
from parity.gpu import gpu_name

ROOT = Path(__file__).parent.parent
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_UNDECIDED, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130
DONE = ("passed", "undecided")
GRACE = 10.0  # seconds from SIGINT to SIGKILL
ENDING = 5.0  # seconds that the archive may take


def main(arguments: list[str]) -> int:
    """Run the parts of a call, or keep an archive's lines. Returns the exit code; see above."""
    options = make_parser().parse_args(arguments)
    try:
        if options.keep:
            for name, count in keep_lines(options.keep, ROOT / "benchmarks" / "results").items():
                print(f"{count} lines added to benchmarks/results/{name}")
            return EXIT_OK
        return run_call(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted; rerunning the same command resumes", file=sys.stderr)
        return EXIT_INTERRUPTED


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the options."""
    parser = argparse.ArgumentParser("python3 -m benchmarks.device", description="What is claimed of a device.")
    parser.add_argument("call", nargs="?", choices=("1", "2", "3", "4", "all"), default="all", help="which parts (all)")
    parser.add_argument("--part", action="append", help="only this one of them; may be repeated")
    out = Path(os.environ.get("OUT") or "device-results")
    parser.add_argument("--out", type=Path, default=out, help="where results.tgz goes ($OUT, or device-results)")
    parser.add_argument("--work", type=Path, default=Path("runs/device"), help="where parts write (runs/device)")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="results.tgz of an earlier call, on any machine")
    parser.add_argument("--data", metavar="DIR", help="where CIFAR-10 lies; or the word synthetic, for a trial")
    parser.add_argument("--recipe", default="94", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=540, help="start no part that does not fit into so many (540)")
    parser.add_argument(
        "--time-factor",
        type=float,
        default=1.0,
        metavar="F",
        help="multiply --seconds and every part's limit, for a machine that is slow or busy (1)",
    )
    parser.add_argument("--archive-mib", type=float, default=16, help="size of results.tgz, which caches fill up (16)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="append the lines of results.tgz to our results")
    return parser


def run_call(options: argparse.Namespace) -> int:
    """Run what is left of a call's parts, as far as its time reaches. Returns the exit code."""
    if not options.time_factor > 0:
        raise ValueError(f"--time-factor is {options.time_factor:g}, but it must be above 0")
    began, allowed = time.monotonic(), options.time_factor * options.seconds
    signal.signal(signal.SIGTERM, interrupt)
    work, archive = (ROOT / options.work).resolve(), options.out.resolve() / "results.tgz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    if restore(options.resume or archive, work, required=options.resume is not None):
        print(f"resumed from {options.resume or archive}")
    gpu, source = gpu_name(), source_name(ROOT)
    device = gpu or device_name()
    parts = choose(options, make_parts(options.recipe, work, gpu is not None, data_options(options.data)))
    parts = [with_more_time(part, options.time_factor) for part in parts]
    print(f"{device}, {source}, recipe {options.recipe}: {len(parts)} parts, {allowed:g} s")
    place = {"device": device, "commit": source, "recipe": options.recipe}
    data = data_name(options.data)
    known = read_statuses(work, place, data)
    # What has been tried and did not succeed comes after what has not been tried.
    for part in sorted(parts, key=lambda part: part.name in known):
        remaining = allowed - (time.monotonic() - began) - GRACE - ENDING
        row: dict[str, Any] = {"part": part.name, **place} | ({"data": data} if part.needs_data else {})
        if known.get(part.name) in DONE:
            status, detail = known[part.name], "recorded"
        elif part.needs_data and not options.data:
            status, detail = "no data", "needs --data"
        elif remaining < (part.least or part.seconds):
            status, detail = "no time", f"needs {part.least or part.seconds:g} s, {max(0, remaining):.0f} s are left"
        else:
            limit = min(part.seconds, remaining)
            print(f"{time.monotonic() - began:5.0f} s  {part.name:13} starts, at most {limit:.0f} s", flush=True)
            row |= run_part(part, limit, work, source, gpu is not None)
            append(work / PARTS, row)
            write_archive(work, archive, int(options.archive_mib * 2**20))
            status, detail = row["status"], f"{row['seconds']:.1f} s, exit code {row['code']}"
        known[part.name] = status
        print(f"{time.monotonic() - began:5.0f} s  {part.name:13} {status} ({detail})", flush=True)
    return exit_code([known[part.name] for part in parts])


def choose(options: argparse.Namespace, parts: list[Part]) -> list[Part]:
    """Return the parts of the call that the options ask for. Raises ValueError for a part of another one."""
    unknown = set(options.part or ()) - {part.name for part in parts}
    if unknown:
        names = ", ".join(part.name for part in parts)
        raise ValueError(f"--part is {min(unknown)!r}, but it must be one of {names}")
    called = [part for part in parts if options.call in ("all", str(part.call))]
    if not options.part:
        return called
    chosen = [part for part in parts if part.name in options.part]
    for part in chosen:
        if part not in called:
            raise ValueError(
                f"--part {part.name} is of call {part.call}, not of call {options.call}; name that, or all"
            )
    return chosen


def run_part(part: Part, limit: float, work: Path, source: str, gpu: bool) -> dict[str, Any]:
    """Run a part's command. Returns its status (passed, undecided, failed or timed out), exit code and seconds."""
    environment = environment_of(work, ROOT, source, gpu)
    if part.own_caches:
        shutil.rmtree(work / "own", ignore_errors=True)
        environment |= {"JAX_COMPILATION_CACHE_DIR": str(work / "own" / "jax")}
    log = work / "logs" / f"{part.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    allowed = str(max(5, round(limit - GRACE - ENDING)))
    command = [sys.executable, *(argument.replace("{seconds}", allowed) for argument in part.command)]
    code, timed_out = run_limited(command, ROOT, environment, log, limit, GRACE)
    shutil.rmtree(work / "own", ignore_errors=True)
    status = "timed out" if timed_out else "passed" if code == 0 else "failed"
    if code == part.undecided and not timed_out:
        status = "undecided"
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"status": status, "code": code, "seconds": round(time.monotonic() - began, 1), "date": date}


def data_name(data: str | None) -> str | None:
    """Return which data set --data is: "synthetic", for a trial, or a folder of "cifar10"; None without it."""
    return "synthetic" if data in ("synthetic", "builtin") else data and "cifar10"


def data_options(data: str | None) -> tuple[str, ...]:
    """Return the options of a command that name the data set."""
    if data is None or data_name(data) == "synthetic":
        return ("--data", "builtin")
    return ("--data", "cifar10", "--data-dir", str(Path(data).resolve()))


def read_statuses(work: Path, place: dict[str, str], data: str | None = None) -> dict[str, str]:
    """Part -> its last recorded status on this device, at this commit, with this recipe.

    data: what the parts that need data are to have been measured on, "synthetic" or "cifar10"; None: on either.
    """
    found = {}
    file = work / PARTS
    for line in file.read_bytes().splitlines() if file.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:  # the line that a kill cut short
            continue
        if place.items() <= row.items() and data in (None, row.get("data", data)):
            found[row["part"]] = row["status"]
    return found


def append(file: Path, row: dict[str, Any]) -> None:
    """Append a line of JSON, on disk when it returns; a torn last line is ended first."""
    line = json.dumps(row).encode() + b"\n"
    with file.open("a+b") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else b"\n" + line
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def exit_code(statuses: list[str]) -> int:
    """Return what the parts' statuses come to."""
    if "failed" in statuses:
        return EXIT_FAILED
    if any(status not in DONE for status in statuses):
        return EXIT_INCOMPLETE
    return EXIT_UNDECIDED if "undecided" in statuses else EXIT_OK


def interrupt(*_: object) -> NoReturn:
    """End as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
