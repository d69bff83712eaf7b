"""The record of a distribution study: one JSON line for the plan, then one for each run, each with its correctness."""

import base64
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from airjax.utils.records import append_line, read_lines

Arm = Literal["torch", "airjax"]
ARMS: tuple[Arm, Arm] = ("torch", "airjax")

# What has to be the same when a study goes on: all of it, or its runs would not be runs of one thing.
FIXED = (
    "recipe", "changed", "method", "runs", "margin", "reference", "data", "data_sha256", "device", "environment",
)  # fmt: skip


class StudyError(ValueError):
    """A study that cannot be read, or not be continued; the message names the file and the remedy."""


class Outcome(NamedTuple):
    """One trained network."""

    correct: np.ndarray  # [N] bool, per test example, with test-time augmentation
    diverged: bool  # a loss or a logit is not finite
    seconds: dict[str, float]


class Study(NamedTuple):
    """A study as far as it has got."""

    plan: dict[str, Any]
    runs: dict[tuple[Arm, int], dict[str, Any]]  # records by arm and seed

    def missing(self) -> list[tuple[Arm, int]]:
        """What is still to be run, in order: the arms alternate, and so does which one begins a pair."""
        order: list[tuple[Arm, int]] = [
            (arm, seed) for seed in range(self.plan["runs"]) for arm in (ARMS if seed % 2 == 0 else ARMS[::-1])
        ]
        return [place for place in order if place not in self.runs]

    def accuracies(self, arm: Arm) -> np.ndarray:
        """Accuracies of an arm's runs in percentage points, by seed, those that diverged left out."""
        return np.array([100 * run["accuracy"] for run in self._converged(arm)])

    def correct(self, arm: Arm) -> np.ndarray:
        """Correctness [runs,N] bool of the same runs."""
        return np.stack([unpack_bits(run["correct"], run["examples"]) for run in self._converged(arm)])

    def diverged(self, arm: Arm) -> int:
        """How many runs of an arm diverged."""
        return sum(run["diverged"] for (name, _), run in self.runs.items() if name == arm)

    def _converged(self, arm: Arm) -> list[dict[str, Any]]:
        return [run for (name, _), run in sorted(self.runs.items()) if name == arm and not run["diverged"]]


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
    runs = {(line["arm"], line["seed"]): line for line in lines if line.get("kind") == "run"}
    return Study(lines[0], runs)


def add_run(file: Path, study: Study, arm: Arm, seed: int, outcome: Outcome) -> dict[str, Any]:
    """Append a run to the file, wait until it is on disk, and enter it into the study."""
    record = {
        "kind": "run",
        "arm": arm,
        "seed": seed,
        "accuracy": None if outcome.diverged else float(outcome.correct.mean()),
        "diverged": outcome.diverged,
        "seconds": {part: round(seconds, 3) for part, seconds in outcome.seconds.items()},
        "examples": len(outcome.correct),
        "correct": pack_bits(outcome.correct),
    }
    append_line(file, record)
    study.runs[arm, seed] = record
    return record


def pack_bits(correct: np.ndarray) -> str:
    """[N] bool as text, one bit each."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpack_bits(text: str, count: int) -> np.ndarray:
    """The inverse of pack_bits."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)
