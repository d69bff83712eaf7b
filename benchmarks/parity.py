r"""The comparison with PyTorch: runs it through its command line and saves the result as a line.

Arguments are those of `python -m parity`, for example `python -m benchmarks.parity numerical`, or

    python -m benchmarks.parity statistical --recipe mini --runs 170 --margin 0.6 \
        --out parity-mini.jsonl --keep
"""

import sys

from airjax.cli.console import run_main
from benchmarks.record import run_json, save, take_output_options


def main(arguments: list[str]) -> int:
    """Compare, and append the JSON result to parity.jsonl, that of `tree` to tree.jsonl. Returns the exit code."""
    results, rest = take_output_options(arguments)
    if rest[:1] not in (["numerical"], ["statistical"], ["tree"]):
        print("usage: python -m benchmarks.parity numerical|statistical|tree ...", file=sys.stderr)
        return 2
    code, record = run_json("parity", [*rest, "--json"])
    if record is not None:
        save(results, "tree.jsonl" if rest[0] == "tree" else "parity.jsonl", record)
    return code


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
