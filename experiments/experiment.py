"""What an experiment is: what it trains, what is made of it, and what it can tell at which scale."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from airjax.stats.power import runs_for_equivalence, runs_to_resolve
from airjax.sweep.plan import Plan, load_plan, make_plan
from experiments.rows import Row
from experiments.trainings import Training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scale = Literal["cpu", "paper"]
SCALES: tuple[Scale, ...] = ("cpu", "paper")
HERE = Path(__file__).parent
PLATFORM = "cpu"  # that plans are read for here: counting their networks must not take a GPU from a worker


class Part(NamedTuple):
    """One sweep of an experiment."""

    name: str  # of its folder
    plan: Path  # its TOML file, which `python -m airjax.sweep` takes as well
    views: tuple[int, ...] = ()  # levels of test-time augmentation at which its kept networks are evaluated again
    # Of a plan that follows from earlier results; its file is written to train it.
    content: dict[str, Any] | None = None

    def load(self) -> Plan:
        """Read and check its plan, without a look at a device. Raises PlanError."""
        return load_plan(self.plan, PLATFORM) if self.content is None else make_plan(self.content, PLATFORM)


class Resolution(NamedTuple):
    """A difference that a plan is made to find, with probability 0.9, by a two-sided test of level 0.05.

    Of several comparisons whose p-values are adjusted together it is the one with the smallest: the level is divided.
    Where equality is to be shown, it is the margin that the whole 95% interval has to lie within, if means are equal.
    """

    cells: str  # which are compared
    difference: float  # of two means, percentage points
    sd: float  # of one network's accuracy, percentage points: what is assumed
    runs: int  # networks of each that the plan has
    comparisons: int = 1  # whose p-values are adjusted together
    equality: bool = False  # is to be shown, not a difference

    @property
    def needed(self) -> int:
        """Networks of each that it takes."""
        if self.equality:
            return runs_for_equivalence(self.sd, self.sd, self.difference, alpha=0.025 / self.comparisons)
        return runs_to_resolve(self.difference, self.sd, self.sd, alpha=0.05 / self.comparisons)


class Context(NamedTuple):
    """Where an analysis finds things."""

    scale: Scale
    folders: tuple[Path, ...]  # of the parts' results, and of their other evaluations
    data_dir: Path | None  # where the data set's files are; None: where the sweep found them
    mixed: bool = False  # pool networks of several environments


class Analysis(NamedTuple):
    """What an experiment found: a line of its results file, from which page and figure are made."""

    rows: list[Row]
    series: dict[str, Any]  # what the figure shows, as plain values
    networks: int  # trained
    diverged: int  # of them
    data: dict[str, str]  # content of each data set by its name


def no_trainings(scale: Scale) -> tuple[Training, ...]:
    """Train nothing but sweeps."""
    del scale
    return ()


class Experiment(NamedTuple):
    """A table or figure of the paper."""

    name: str
    title: str
    claim: str  # what the paper says, in a sentence
    parts: Callable[[Scale, Path], Iterator[Part]]  # what to train, in order; a later part may depend on earlier ones
    analyse: Callable[[Context], Analysis]
    draw: Callable[[dict[str, Any]], "Figure"]  # from a line of the results
    scales: tuple[Scale, ...] = SCALES  # that make a difference to it
    trainings: Callable[[Scale], tuple[Training, ...]] = no_trainings  # beside the parts: what is no sweep
    resolutions: Callable[[], tuple[Resolution, ...]] = tuple  # of the CPU scale; they follow from earlier results

    @property
    def folder(self) -> Path:
        """Where its page, plans and figures are."""
        return HERE / self.name


def in_precision(experiment: Experiment, precision: str) -> Experiment:
    """Return an experiment that trains all its networks in a precision, whatever its plans say.

    Raises ValueError for one that compares precisions itself.
    """

    def parts(scale: Scale, out: Path) -> Iterator[Part]:
        for one in experiment.parts(scale, out):
            content = tomllib.loads(one.plan.read_text()) if one.content is None else one.content
            if "precision" in content.get("grid", {}):
                raise ValueError(f"{experiment.name} compares precisions; leave --precision out")
            changed = content | {"set": content.get("set", {}) | {"precision": precision}}
            yield one._replace(plan=out / f"{one.name}.toml", content=changed)

    def trainings(scale: Scale) -> tuple[Training, ...]:
        return tuple(
            one._replace(changes=one.changes | {"precision": precision}) for one in experiment.trainings(scale)
        )

    return experiment._replace(parts=parts, trainings=trainings)


def no_parts(scale: Scale, out: Path) -> Iterator[Part]:
    """Train nothing."""
    yield from ()


def plan_parts(name: str, cpu: tuple[Part, ...], paper: tuple[Part, ...]) -> Callable[[Scale, Path], Iterator[Part]]:
    """Return the parts of an experiment whose plans are files of its folder, SCALE-PART.toml.

    A part's plan is relative to that folder, and its name follows from the file's.
    """
    by_scale = {"cpu": cpu, "paper": paper}

    def parts(scale: Scale, out: Path) -> Iterator[Part]:
        for part in by_scale[scale]:
            yield part._replace(plan=HERE / name / part.plan)

    return parts


def part(file: str, views: tuple[int, ...] = ()) -> Part:
    """Return the part whose plan is a file SCALE-PART.toml."""
    return Part(Path(file).stem.partition("-")[2], Path(file), views)
