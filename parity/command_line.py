"""The options of `python -m parity` and its commands; nothing here imports torch."""

import argparse
import tomllib
from pathlib import Path
from typing import Any


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser("python -m parity", description="Compare airjax with PyTorch.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_numerical(commands)
    _add_statistical(commands)
    _add_tree(commands)
    _add_report(commands)
    _add_conversions(commands)
    return parser


def _add_numerical(commands: Any) -> None:
    suite = commands.add_parser("numerical", help="the parity suite: checks from single pixels to a whole training")
    suite.add_argument(
        "--check", dest="check", action="append", metavar="NAME", help="only this check; may be repeated"
    )
    suite.add_argument("--rung", dest="check", action="append", help=argparse.SUPPRESS)  # its name until version 0.2
    suite.add_argument("--recipe", action="append", metavar="NAME", help="only this recipe; may be repeated")
    suite.add_argument("--against", choices=("reference", "upstream"), default="reference")
    suite.add_argument("--data", choices=("auto", "cifar10", "synthetic", "builtin"), default="auto")
    suite.add_argument("--data-dir", help="where CIFAR-10 lies; the default is AIRJAX_DATA")
    suite.add_argument("--seed", type=int, default=0, metavar="N", help="of all weights and random choices (0)")
    suite.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="run every check with N seeds from --seed on (1)"
    )
    suite.add_argument(
        "--threads", type=int, metavar="N", help="of PyTorch, and cores of JAX; the default is 1, and all cores"
    )
    suite.add_argument("--json", action="store_true", help="end with one line of JSON: passed, and the checks")


def parse_field(text: str) -> dict[str, Any]:
    """Return a field and its value, as in "widths=[32,64,64]". Raises ArgumentTypeError for what is no line of TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no NAME=VALUE, such as widths=[32,64,64] or flip='random'"
        ) from error


def _add_statistical(commands: Any) -> None:
    study = commands.add_parser("statistical", help="many networks of each framework: are the accuracies alike?")
    study.add_argument("--runs", type=int, required=True, metavar="N", help="networks of each framework")
    study.add_argument("--recipe", default="94", metavar="NAME")
    study.add_argument("--margin", type=float, default=0.05, help="what counts as equal, in percentage points (0.05)")
    study.add_argument("--reference", choices=("own", "upstream"), default="own", help="upstream: the package airbench")
    study.add_argument(
        "--device", choices=("cpu", "cuda"), help="of both frameworks; the default is a GPU if there is one"
    )
    study.add_argument(
        "--precision", choices=("float32", "float64", "float16", "bfloat16"), help="of both; each has its own default"
    )
    study.add_argument(
        "--set",
        action="append",
        type=parse_field,
        default=[],
        metavar="NAME=VALUE",
        help="change a field of the recipe, as in a plan: --set widths=[32,64,64] --set epochs=4.0",
    )
    study.add_argument("--data", choices=("auto", "cifar10", "synthetic", "builtin"), default="auto")
    study.add_argument("--data-dir", type=Path, help="where CIFAR-10 lies; the default is AIRJAX_DATA")
    study.add_argument("--out", type=Path, metavar="FILE", help="the record, JSON lines; an unfinished one is finished")
    study.add_argument("--json", action="store_true", help="end with one line of JSON: verdict, and all statistics")


def _add_tree(commands: Any) -> None:
    tree = commands.add_parser("tree", help="a ResNet-18 that learns from a tree of images, on the same batches")
    tree.add_argument("tree", type=Path, metavar="TREE", help="its folder, with train/CLASS/ and val/CLASS/")
    tree.add_argument("--epochs", type=float, default=16.0, metavar="E", help="length of training (16)")
    tree.add_argument("--seeds", type=int, default=1, metavar="N", help="networks of each framework (1)")
    tree.add_argument("--workers", type=int, default=0, metavar="N", help="processes that decode images (0)")
    tree.add_argument("--json", action="store_true", help="end with one line of JSON: accuracies with intervals")


def _add_report(commands: Any) -> None:
    report = commands.add_parser("report", help="a study as one HTML page with its figures")
    report.add_argument("study", type=Path, metavar="STUDY.jsonl", help="the record that `statistical` wrote")
    report.add_argument(
        "--suite",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="what `numerical --json` printed; may be repeated",
    )
    report.add_argument("--ladder", dest="suite", type=Path, action="append", help=argparse.SUPPRESS)  # its old name
    report.add_argument("--out", type=Path, default=Path("parity.html"), metavar="FILE.html")


def _add_conversions(commands: Any) -> None:
    export = commands.add_parser("export", help="airjax model -> state_dict under the released package's key names")
    export.add_argument("model", type=Path, metavar="MODEL.safetensors")
    export.add_argument("state", type=Path, metavar="OUT.pt")

    restore = commands.add_parser("import", help="such a state_dict -> airjax model; the package's train96 is 96-paper")
    restore.add_argument("state", type=Path, metavar="STATE.pt")
    restore.add_argument("model", type=Path, metavar="MODEL.safetensors")
    restore.add_argument("--recipe", required=True, metavar="NAME", help="the recipe that the network was trained by")
