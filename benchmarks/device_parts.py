"""What is measured of a device: parts, each a command with a time limit, in the order of their value.

A command measures what exists: another choice to try is another of benchmarks/ablation_variants.py, named here.
"""

from pathlib import Path
from typing import NamedTuple

# Choices about a step that a GPU has to decide, beside the step as it is.
GPU_VARIANTS = (
    "nothing that is for GPUs alone",
    "the compiler's default options",
    "loops outside of command buffers",
    "kernels one after the other",
    "the first convolution by the library",
    "weight gradients of small images as they are",
    "pool, BatchNorm and GELU: gradients in two kernels",
    "what is in memory left to the compiler",
    "BatchNorm's gradient by autodiff",
    "no command buffers",
    "float16",
)
CPU_VARIANTS = ("GELU from erfc",)
MUON_VARIANTS = ("Muon: kernels of one shape in a batch", "Muon: all kernels in one batch, filled up with zeros")
# Strategies to train many networks, in the order of their value: each is kept when it is measured.
GROUPS = ("sequential:1", "interleaved:2", "vmap:2", "interleaved:4")
# Other recipes whose accuracy is measured on a GPU: the seeds, and the part's limit and least.
OTHERS = (
    ("94-muon", "20", 75.0, 45.0),
    ("94-airjax", "40", 90.0, 45.0),
    ("95", "10", 100.0, 60.0),
    ("96", "4", 140.0, 90.0),
)
# Recipes that the released package trains; beside others, in a trial, stands our own PyTorch reference.
RELEASED = ("94", "95", "96")


class Part(NamedTuple):
    """One command."""

    name: str
    call: int  # in which call it is due: each has at most ten minutes
    seconds: float  # its limit
    command: tuple[str, ...]  # arguments of python; {seconds} is the limit less what it takes to start and to end
    least: float | None = None  # seconds with which it is worth starting; None: its limit
    needs_data: bool = False
    undecided: int | None = None  # the exit code that says that it measured, but decides nothing
    own_caches: bool = False  # compiles everything anew, as the first process on a machine does


def with_more_time(part: Part, factor: float) -> Part:
    """Return a part whose limit, and the least that it is worth starting with, are so many times as long."""
    return part._replace(seconds=factor * part.seconds, least=None if part.least is None else factor * part.least)


def make_parts(recipe: str, work: Path, gpu: bool, data: tuple[str, ...]) -> list[Part]:
    """Make the parts of all calls, in their order.

    Args:
        recipe: name of the recipe that is measured.
        work: folder for what is measured; lines go to work/lines.
        gpu: whether there is one.
        data: the options that name the data set, for the parts that need it.
    """
    lines = ("--results", str(work / "lines"))
    of = ("--recipe", recipe)
    within = ("--seconds", "{seconds}")
    turns = ("-m", "benchmarks.ablation", "--turns", "12", *within, *lines)
    ablation = (*turns, *of)
    variants = _named(GPU_VARIANTS if gpu else CPU_VARIANTS)
    of_muon = ("--recipe", "94-muon", *_named(MUON_VARIANTS))
    against = ("--against", "compiled", "--repeats", "6", *within, *lines)
    released = "airbench-compiled" if recipe in RELEASED else "compiled"
    whole = ("--against", released, "--repeats", "7", *within, *lines)
    others = ("-m", "benchmarks.accuracy", *data, "--no-validate-epochs", *lines)
    accuracy = (*others, *of)
    networks = [part for group in GROUPS for part in ("--only", group)]
    study = ("--runs", "170", *data, *lines, "--out", str(work / f"parity-{recipe}.jsonl"))
    folder = ("--out", str(work / "accuracy"))

    def of_other(name: str, seeds: str) -> tuple[str, ...]:
        return ("--recipe", name, "--seeds", seeds, "--out", str(work / f"accuracy-{name}"))

    return [
        Part("doctor", 1, 60, ("-m", "airjax.doctor")),
        Part("rates", 1, 30, ("-m", "benchmarks.rates", *lines)),
        Part("losses", 1, 150, ("-m", "benchmarks.losses", *of, *lines), least=60),
        Part("step", 1, 150, (*ablation, *variants), least=60),
        Part("profile", 1, 60, ("-m", "benchmarks", "profile", *of, *lines), least=30),
        Part("accuracy", 2, 120, (*accuracy, "--seeds", "50", *folder), 60, needs_data=True),
        *(
            Part(f"accuracy-{name}", 2, limit, (*others, *of_other(name, seeds)), least, needs_data=True)
            for name, seeds, limit, least in (OTHERS if gpu and recipe == "94" else ())
        ),
        # The released script's compiler takes some five minutes of it.
        Part("run", 3, 400, ("-m", "benchmarks", "run", *of, *data, *whole), 330, needs_data=True),
        Part("networks", 3, 120, ("-m", "benchmarks", "seeds", *of, *data, *networks, *lines), 60, needs_data=True),
        Part("accuracy-100", 4, 120, (*accuracy, "--seeds", "100", *folder), 60, needs_data=True),
        Part("autotuning", 4, 60, (*ablation, "--variant", "as it is"), least=40, own_caches=True),
        *((Part("step-94-muon", 4, 150, (*turns, *of_muon), least=60),) if gpu and recipe == "94" else ()),
        Part("torch", 4, 130, ("-m", "benchmarks", "step", *of, *against), least=100),
        Part("parity", 4, 500, ("-m", "benchmarks.parity", "statistical", *of, *study), 60, True, undecided=3),
    ]


def _named(variants: tuple[str, ...]) -> list[str]:
    return [part for name in variants for part in ("--variant", name)]
