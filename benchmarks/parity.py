r"""The comparison with PyTorch: runs it through its command line and keeps the result as a line.

Arguments are those of `python -m parity`, for example `python -m benchmarks.parity numerical`, or

    python -m benchmarks.parity statistical --recipe mini --runs 170 --margin 0.6 \
        --out benchmarks/results/parity-mini.jsonl
"""

import sys

from benchmarks.record import keep, run_json


def main(arguments: list[str]) -> int:
    """Compare, and append the JSON result, whatever it is, to results/parity.jsonl. Returns the exit code."""
    if arguments[:1] not in (["numerical"], ["statistical"]):
        print("usage: python -m benchmarks.parity numerical|statistical ...", file=sys.stderr)
        return 2
    code, record = run_json("parity", [*arguments, "--json"])
    if record is not None:
        keep("parity.jsonl", record)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
