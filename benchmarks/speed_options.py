"""What a comparison with PyTorch can be told: its options, and what they come to."""

import argparse
from pathlib import Path
from typing import get_args

from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from benchmarks.record import add_output_options
from parity.environment import Device
from parity.timing import ImplementationName

IMPLEMENTATIONS: dict[str, tuple[ImplementationName, ...]] = {
    "torch": ("eager", "compiled"),
    "eager": ("eager",),
    "compiled": ("compiled",),
    "autocast": ("autocast",),
    "autocast-compiled": ("autocast-compiled",),
    "airbench": ("airbench",),
    "airbench-compiled": ("airbench-compiled",),
}
STEPS: dict[Device, int] = {"cpu": 10, "cuda": 100}
# What glibc reads when a process starts.
ALLOCATORS: dict[str, dict[str, str]] = {
    "default": {},
    # No arrays in mappings of their own, nothing handed back to the system, and one heap for all threads, because the
    # heaps of other threads are too small for XLA's arrays, which get mappings after all.
    "keep": {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"},
    # Mappings of arrays ask for huge pages, of which there are fewer to clear.
    "huge": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}
CHANGES = ("batch_size", "epochs", "train_examples", "test_examples", "precision")


def make_parser(task: str) -> argparse.ArgumentParser:
    """Make the parser of a comparison."""
    parser = argparse.ArgumentParser(
        f"python -m benchmarks {task}", description="airjax against PyTorch on the same device, measured in turn."
    )
    parser.add_argument("--recipe", default="94", metavar="NAME")
    parser.add_argument(
        "--against",
        default="torch",
        metavar="NAMES",
        help=f"of {', '.join(get_args(ImplementationName)[1:])}, separated by commas; torch is eager,compiled and, of "
        "a CPU in bfloat16, autocast,autocast-compiled",
    )
    parser.add_argument("--device", choices=get_args(Device), help="of both; the default is a GPU if there is one")
    parser.add_argument("--repeats", type=int, default=11, metavar="N", help="blocks of each implementation that count")
    parser.add_argument(
        "--warmups", type=int, default=1, metavar="N", help="blocks of each implementation before those"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=float("inf"),
        help="begin no round that would end after so many: what is measured is saved",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of both; without it float32 on a CPU, on a GPU bfloat16 of airjax and float16 of PyTorch, as released",
    )
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument("--train-examples", type=int, metavar="N")
    parser.add_argument("--test-examples", type=int, metavar="N")
    parser.add_argument("--epochs", type=float, metavar="E", help="cut a training short")
    parser.add_argument(
        "--allocator",
        choices=tuple(ALLOCATORS),
        default="default",
        help="keep: no process hands memory back to the system; huge: huge pages; on a CPU all are faster for it "
        "(docs/performance.md)",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="of each phase in a block of `step`")
    if task == "run":
        parser.add_argument("--data", choices=("auto", "cifar10", "synthetic", "builtin"), default="auto")
        parser.add_argument("--data-dir", type=Path, help="where CIFAR-10 lies; the default is AIRJAX_DATA")
    add_comparison_options(parser)
    return parser


def add_comparison_options(parser: argparse.ArgumentParser) -> None:
    """Add what every comparison can do with its result."""
    parser.add_argument("--max-ratio", type=float, metavar="R", help="exit with 1 if airjax takes more than R times")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    add_output_options(parser)


def parse_implementations(names: str, *, autocast: bool = False) -> tuple[ImplementationName, ...]:
    """Return the PyTorch implementations of --against, such as "torch,airbench"; torch is autocast's, too, where asked.

    Raises ValueError for another name.
    """
    known = dict(IMPLEMENTATIONS)
    if autocast:
        known["torch"] += ("autocast", "autocast-compiled")
    unknown = [name for name in names.split(",") if name not in IMPLEMENTATIONS]
    if unknown:
        raise ValueError(
            f"--against has {unknown[0]!r}, but it takes {', '.join(IMPLEMENTATIONS)}, separated by commas"
        )
    return tuple(dict.fromkeys(implementation for name in names.split(",") for implementation in known[name]))


def changed_recipe(options: argparse.Namespace) -> Recipe:
    """Return the recipe with the fields that the options name. Raises ValueError for values that it refuses."""
    recipe = get_recipe(options.recipe)
    changes = {name: getattr(options, name) for name in CHANGES if getattr(options, name, None) is not None}
    return recipe.override(**changes)
