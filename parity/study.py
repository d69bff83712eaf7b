"""The record of a distribution study: one JSON line for the plan, then one for each run, each with its correctness."""

import base64
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from airjax.utils.records import append_line, read_lines

Framework = Literal["torch", "airjax"]
FRAMEWORKS: tuple[Framework, Framework] = ("torch", "airjax")

# What has to be the same when a study is resumed: all of it, or its runs would not be runs of one thing.
FIXED = (
    "recipe", "changed", "method", "runs", "margin", "reference", "data", "data_sha256", "device", "environment",
)  # fmt: skip


class StudyError(ValueError):
    """A study that cannot be read, or not be continued; the message names the file and the remedy."""


class RunOutcome(NamedTuple):
    """One trained network."""

    correct: np.ndarray  # [N] bool, per test example, with test-time augmentation
    diverged: bool  # a loss or a logit is not finite
    seconds: dict[str, float]


class Study(NamedTuple):
    """A study as far as it has got."""

    plan: dict[str, Any]
    runs: dict[tuple[Framework, int], dict[str, Any]]  # records by framework and seed

    def missing(self) -> list[tuple[Framework, int]]:
        """Return what is still to be run, in order: the frameworks alternate, and so does which one begins a pair."""
        order: list[tuple[Framework, int]] = [
            (framework, seed)
            for seed in range(self.plan["runs"])
            for framework in (FRAMEWORKS if seed % 2 == 0 else FRAMEWORKS[::-1])
        ]
        return [place for place in order if place not in self.runs]

    def accuracies(self, framework: Framework) -> np.ndarray:
        """Accuracies of a framework's runs in percentage points, by seed, those that diverged left out."""
        return np.array([100 * run["accuracy"] for run in self._converged(framework)])

    def correct(self, framework: Framework) -> np.ndarray:
        """Correctness [runs,N] bool of the same runs."""
        return np.stack([unpack_bits(run["correct"], run["examples"]) for run in self._converged(framework)])

    def diverged(self, framework: Framework) -> int:
        """Return how many runs of a framework diverged."""
        return sum(run["diverged"] for (name, _), run in self.runs.items() if name == framework)

    def _converged(self, framework: Framework) -> list[dict[str, Any]]:
        return [run for (name, _), run in sorted(self.runs.items()) if name == framework and not run["diverged"]]


def open_study(file: Path, plan: dict[str, Any]) -> Study:
    """Begin a study, or go on with the one in the file.

    Raises StudyError where the file holds another: its size and margin are fixed before the first run, because a study
    that goes on until it pleases is wrong more often than its p-values say.
    """
    plan = json.loads(json.dumps({"kind": "plan"} | plan))
    if not file.exists() or file.stat().st_size == 0:
        file.parent.mkdir(parents=True, exist_ok=True)
        append_line(file, plan)
    study = load_study(file)
    other = [name for name in FIXED if study.plan.get(name) != plan.get(name)]
    if other:
        name = other[0]
        raise StudyError(
            f"{file} holds a study with {name} {study.plan.get(name)}, which was fixed when it began, not "
            f"{plan.get(name)}; go on with the same arguments, or begin another with --out"
        )
    return study


def load_study(file: Path) -> Study:
    """Read a study. Raises StudyError for a file that holds none."""
    try:
        lines = read_lines(file)
    except OSError as error:
        raise StudyError(f"cannot read {file}: {error.strerror}") from error
    if not lines or lines[0].get("kind") != "plan":
        raise StudyError(f"{file} is not the record of a study, which `python -m parity statistical` writes")
    runs = {(run["framework"], run["seed"]): run for run in map(_with_framework, lines) if run.get("kind") == "run"}
    return Study(lines[0], runs)


def _with_framework(line: dict[str, Any]) -> dict[str, Any]:
    # Until version 0.2 the framework was called an arm.
    return {("framework" if key == "arm" else key): value for key, value in line.items()}


def add_run(file: Path, study: Study, framework: Framework, seed: int, outcome: RunOutcome) -> dict[str, Any]:
    """Append a run to the file, wait until it is on disk, and enter it into the study."""
    record = {
        "kind": "run",
        "framework": framework,
        "seed": seed,
        "accuracy": None if outcome.diverged else float(outcome.correct.mean()),
        "diverged": outcome.diverged,
        "seconds": {part: round(seconds, 3) for part, seconds in outcome.seconds.items()},
        "examples": len(outcome.correct),
        "correct": pack_bits(outcome.correct),
    }
    append_line(file, record)
    study.runs[framework, seed] = record
    return record


def pack_bits(correct: np.ndarray) -> str:
    """[N] bool as text, one bit each."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack_bits(text: str, count: int) -> np.ndarray:
    """Return the inverse of pack_bits."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)
