"""The command that checks this device's compiled pieces: airjax doctor, or python -m airjax.doctor."""

import argparse

from airjax.training.environment import describe
from airjax.training.self_check import fingerprint, run_checks
from airjax.utils.records import dump_json


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.doctor") -> int:
    """Print the device and the checks, as a table or with --json as one line. Returns 1 where one fails, else 0."""
    options = make_parser(prog).parse_args(arguments)
    checks = run_checks()
    passed, about = all(check.passed for check in checks), describe()
    if options.json:
        rows = [check._asdict() | {"passed": check.passed} for check in checks]
        print(dump_json({"passed": passed, "fingerprint": fingerprint(checks), "checks": rows} | about))
    else:
        print(f"{about['device']} ({about['platform']}), jax {about['versions']['jax']}")
        for check in checks:
            state = "right" if check.passed else "WRONG"
            print(f"{check.name:48}{check.error:10.1e} of {check.allowed:.0e}  {state}")
        print(f"fingerprint {fingerprint(checks)}")
    return 0 if passed else 1


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog, description="Compare compiled pieces with numpy. Exits with 1 if one is wrong."
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    return parser
