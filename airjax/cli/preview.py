"""A data set as a page: airjax data preview --data NAME."""

import argparse
import sys
import warnings
from pathlib import Path

from airjax.cli.console import describe_os_error
from airjax.cli.report import require_packages
from airjax.data import DataError, load_data
from airjax.data.labels import LABEL_NAMES
from airjax.recipes.published import RECIPES, get_recipe
from airjax.report.preview import render_preview
from airjax.training.arrays import fit_recipe
from airjax.utils.extras import MissingExtraError
from airjax.utils.records import write_atomically
from airjax.utils.seeds import check_seed

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def main(arguments: list[str] | None = None, prog: str = "airjax data preview") -> int:
    """Run the command line and return its exit code: 0 written, 1 the disk failed, 2 bad usage or input."""
    options = make_parser(prog).parse_args(arguments)
    try:
        require_packages()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset = load_data(
                options.data,
                options.data_dir,
                image_size=options.image_size,
                labels=options.labels,
                labels_dir=options.labels_dir,
            )
        recipe = get_recipe(options.recipe)
        # Batches change nothing of what is shown, and may be larger than the data set.
        size = min(recipe.batch_size, max(2, len(dataset.train_images)))
        recipe = fit_recipe(recipe.override(batch_size=size), dataset)
        notes = [str(warning.message) for warning in caught]
        page = render_preview(dataset, options.recipe, recipe, check_seed(options.seed), notes)
    except (DataError, MissingExtraError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        write_atomically(options.out, page.text.encode())
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return EXIT_FAILED
    print(f"wrote {options.out}")
    return EXIT_OK


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog, description="A data set as one HTML page, with a recipe's augmentation.")
    parser.add_argument("--data", default="auto", metavar="NAME|PATH", help="as airjax train takes it (docs/data.md)")
    parser.add_argument("--data-dir", type=Path, metavar="PATH", help="where its files lie")
    parser.add_argument("--labels", choices=LABEL_NAMES, help="other labels of CIFAR-10's images")
    parser.add_argument("--labels-dir", type=Path, metavar="PATH", help="where their file lies")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="scale images of your own to this size")
    parser.add_argument("--recipe", default="94", choices=RECIPES, help="whose augmentation is shown (94)")
    parser.add_argument("--seed", type=int, default=0, help="of the network whose views are shown (0)")
    parser.add_argument("--out", type=Path, default=Path("preview.html"), metavar="FILE", help="(preview.html)")
    return parser
