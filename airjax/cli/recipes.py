"""The list of recipes: airjax recipes, or python -m airjax.recipe."""

import argparse

from airjax.recipes.published import RECIPES, summarize
from airjax.utils.records import dump_json


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.recipe") -> int:
    """List the recipes, as a table or with --json as one line. Returns the exit code."""
    options = make_parser(prog).parse_args(arguments)
    rows = [summarize(name) for name in RECIPES]
    if options.json:
        print(dump_json(rows))
        return 0
    width = max(len(name) for name in RECIPES) + 1
    print(
        f"{'recipe':{width}}{'epochs':>7}{'steps':>7}{'parameters':>12}{'TFLOP':>10}{'expected':>10}  "
        "what it is; evidence"
    )
    for row in rows:
        expected = "" if row["expected_accuracy"] is None else f"{row['expected_accuracy']:.2%}"
        print(
            f"{row['name']:{width}}{row['epochs']:7g}{row['steps']:7}{row['params']:12,}{row['flops'] / 1e12:10,.1f}"
            f"{expected:>10}  {row['summary']}; {row['evidence']}"
        )
    return 0


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog, description="What each recipe costs and promises.")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    return parser
