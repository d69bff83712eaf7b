"""Rows of the record table: our own from the lines of accuracy.jsonl, other people's as they published them."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from airjax.recipes.published import CLAIMS
from airjax.stats.claims import ClaimVerdict, judge_claim, runs_for_claim
from airjax.stats.intervals import mean_interval, sample_sd
from benchmarks.accuracy_tables import whole_lines
from benchmarks.timing_rules import AIRBENCH, RULES, seconds_by

PUBLISHED = Path(__file__).parent / "published_records.toml"
AS_PUBLISHED = "as published"
PACKAGES = ("airjax", "jax", "jaxlib", "onednn-cpu-gomp")  # versions that a row shows

RowVerdict = ClaimVerdict | Literal["as published"]


class Row(NamedTuple):
    """A mean accuracy over networks that differ by their seeds, the claim about it, and the seconds of a network."""

    name: str
    target: float  # accuracies are in [0, 1]
    mean: float
    interval: tuple[float, float] | None  # 95%, of the mean; None of fewer than two networks, and of published rows
    sd: float | None
    n: int | None  # networks; None: not published
    p: float | None  # one-sided, of "the mean is below the target"
    verdict: RowVerdict
    needed: int | None  # networks that resolve the recipe's claim with probability 0.9; None: unknown, or resolved
    seconds: float  # mean over the networks
    rule: str  # in RULES; "": not stated
    whole_process: float | None  # seconds of one network by that rule, beside those above
    compile: float | None  # seconds of those, so far as airjax's clock has them
    data: str
    device: str
    versions: str
    commit: str | None
    date: str
    source: str  # of a published row its address, of our own the raw log, or "" where all is in the line itself
    on_cifar10: bool  # judged on all test images of CIFAR-10
    planned: bool  # by `airjax records verify`, which fixes target and number of networks before the first
    stopped: bool = False  # before all networks were finished that were asked for

    @property
    def is_record(self) -> bool:
        """Say whether the row may stand among the records: published as one, or our own with its claim verified.

        Who trains until the mean is high enough, or keeps the best of several sets, verifies nothing.
        """
        return self.verdict == AS_PUBLISHED or (self.verdict == "verified" and self.on_cifar10 and self.planned)


def own_rows(lines: Sequence[dict[str, Any]]) -> list[Row]:
    """Make the rows of those lines of accuracy.jsonl that test a claim.

    That is a line of `airjax records verify`, or of a recipe as it is, but for its precision, on all of CIFAR-10's test
    images. Others (a shortened recipe, other data, no target) say nothing about one.
    """
    return [_own_row(line) for line in whole_lines(lines) if "claim" in line or _tests_claim(line)]


def published_rows(file: Path = PUBLISHED) -> list[Row]:
    """Read the rows of other people's records. Raises ValueError for a rule that is not in RULES."""
    return [_published_row(entry) for entry in tomllib.loads(file.read_text())["record"]]


def sort_rows(rows: Sequence[Row]) -> list[Row]:
    """Sort rows by target, then by seconds, by whichever rule."""
    return sorted(rows, key=lambda row: (row.target, row.seconds))


def runs_to_claim(name: str, target: float, sd: float | None = None) -> int | None:
    """Find how many networks resolve a recipe's claim of a mean above a target; None where that is not known.

    Args:
        name: the recipe's, whose claim says the mean to expect.
        target: in [0, 1].
        sd: over seeds, in place of the claim's own, where it has none.
    """
    claim = CLAIMS[name]
    sd = claim.expected_sd or sd
    return None if claim.expected_accuracy is None or not sd else runs_for_claim(claim.expected_accuracy, sd, target)


def _tests_claim(line: dict[str, Any]) -> bool:
    return line["target_met"] != "not evaluated" and not set(line["changed"]) - {"precision"}


def _own_row(line: dict[str, Any]) -> Row:
    accuracies, claim = line["accuracy"], line.get("claim", {})
    target = claim.get("target", line["target"])
    test, sd = judge_claim(accuracies, target), sample_sd(accuracies) if len(accuracies) > 1 else None
    whole = line.get("whole_process") or {}
    on_cifar10 = line["target_met"] != "not evaluated"
    return Row(
        name=", ".join((line["recipe"], *map(str, line["changed"].values()))),
        target=target,
        mean=line["mean"],
        interval=mean_interval(accuracies, whole=1.0),
        sd=sd,
        n=line["n"],
        p=test.p,
        verdict=test.verdict,
        needed=runs_to_claim(line["recipe"], target, sd) if on_cifar10 and not _is_resolved(test.verdict) else None,
        seconds=seconds_by(AIRBENCH, line["seconds"]) / line["n"],
        rule=AIRBENCH.name,
        whole_process=whole.get("seconds"),
        compile=whole.get("compile"),
        data=line["dataset"] + (", shuffled order" if line.get("content") == "shuffled" else ""),
        device=line["device"],
        versions=", ".join(f"{name} {line['versions'][name]}" for name in PACKAGES if line["versions"].get(name)),
        commit=line["commit"],
        date=line["date"],
        source=line.get("log", ""),
        on_cifar10=on_cifar10,
        planned="claim" in line,
        stopped=bool(line.get("interrupted")),
    )


def _is_resolved(verdict: ClaimVerdict) -> bool:
    return verdict != "not resolved at this n"


def _published_row(entry: dict[str, Any]) -> Row:
    rule = entry["rule"]
    if rule and rule not in RULES:
        raise ValueError(f"{entry['name']}: unknown timing rule {rule!r}; the rules are {', '.join(RULES)}")
    return Row(
        name=entry["name"],
        target=entry["target"],
        mean=entry["accuracy"],
        interval=None,
        sd=entry.get("sd"),
        n=entry.get("n"),
        p=None,
        verdict=AS_PUBLISHED,
        needed=None,
        seconds=entry["seconds"],
        rule=rule,
        whole_process=None,
        compile=None,
        data="cifar10",
        device=entry["device"],
        versions=entry.get("versions", ""),
        commit=None,
        date=entry["date"],
        source=entry["source"],
        on_cifar10=True,
        planned=False,
    )
