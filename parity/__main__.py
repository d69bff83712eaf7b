"""The command line: python -m parity numerical | export | import."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from airjax.checkpoint import ModelError
from airjax.data.dataset import DataError
from airjax.recipe import RECIPES, Recipe
from parity.convert import ConvertError, export_model, import_model


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for a failing rung, or 2 for bad usage."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "numerical":
            return _numerical(options)
        if options.command == "export":
            export_model(options.model, options.state)
        else:
            import_model(options.state, options.model, _import_recipe(options))
    except (ConvertError, DataError, ModelError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _numerical(options: argparse.Namespace) -> int:
    import torch

    from parity import numerical

    # The ladder's arrays are small: a second thread costs more than it gives.
    torch.set_num_threads(1)
    peer = _peer(options.against)
    recipes = numerical.recipe_names(peer, tuple(options.recipe) if options.recipe else None)
    unknown = set(options.rung or ()) - set(numerical.RUNG_NAMES)
    if unknown:
        raise ValueError(f"unknown rung {', '.join(sorted(unknown))}; the rungs are {', '.join(numerical.RUNG_NAMES)}")
    images = numerical.load_images(options.data, options.data_dir)
    print(f"airjax against {peer.name}, images of {images[0]}\n{numerical.HEADER}")
    result = numerical.climb(
        peer,
        images,
        recipes=recipes,
        rungs=tuple(options.rung or numerical.RUNG_NAMES),
        on_step=lambda part: print(*map(numerical.format_row, part.rows), sep="\n", flush=True),
    )
    failed = [f"{row.rung} ({row.recipe}, {row.precision})" for row in result.rows if not row.passed]
    count = len(result.comparisons)
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(result.rows)} rungs hold, {count} arrays compared")
    if options.json:
        print(json.dumps(numerical.to_json(result)))
    return 0 if result.passed else 1


def _peer(name: str):
    if name == "reference":
        from parity.peer import OWN

        return OWN
    from parity.upstream import make_peer

    return make_peer()


def _import_recipe(options: argparse.Namespace) -> Recipe:
    if options.recipe not in RECIPES:
        raise ValueError(f"unknown recipe {options.recipe!r}; the recipes are {', '.join(RECIPES)}")
    return dataclasses.replace(RECIPES[options.recipe], precision="float32")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m parity", description="Compare airjax with PyTorch.")
    commands = parser.add_subparsers(dest="command", required=True)

    ladder = commands.add_parser("numerical", help="the ladder of comparisons, from single pixels to a whole training")
    ladder.add_argument("--rung", action="append", metavar="NAME", help="only this rung; may be repeated")
    ladder.add_argument("--recipe", action="append", metavar="NAME", help="only this recipe; may be repeated")
    ladder.add_argument("--against", choices=("reference", "upstream"), default="reference")
    ladder.add_argument("--data", choices=("auto", "cifar10", "builtin"), default="auto")
    ladder.add_argument("--data-dir", help="where CIFAR-10 lies; the default is AIRJAX_DATA")
    ladder.add_argument("--json", action="store_true", help="end with one line of JSON: passed, and the rungs")

    export = commands.add_parser("export", help="airjax model -> state_dict under the released package's key names")
    export.add_argument("model", type=Path, metavar="MODEL.safetensors")
    export.add_argument("state", type=Path, metavar="OUT.pt")

    restore = commands.add_parser("import", help="such a state_dict -> airjax model; the package's train96 is 96-paper")
    restore.add_argument("state", type=Path, metavar="STATE.pt")
    restore.add_argument("model", type=Path, metavar="MODEL.safetensors")
    restore.add_argument("--recipe", required=True, metavar="NAME", help="the recipe that the network was trained by")
    return parser


if __name__ == "__main__":
    sys.exit(main())
