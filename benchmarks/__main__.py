"""The command line: python -m benchmarks step | run | evaluate | augment | compile | seeds | scaling | ... | report."""

import sys

from airjax.cli.console import run_main
from airjax.cli.stopping import exit_code_of, interrupted_by_sigterm
from airjax.data.dataset import DataError
from parity.worker import WorkerError

USAGE = """usage: python -m benchmarks COMMAND [--help]

airjax against PyTorch, measured in turn on one device:
  step      one training step
  run       a whole training, from whitening to test-time augmentation
  evaluate  the test set with test-time augmentation
  augment   the images of one epoch
  compile   from a fresh process to the first step

airjax alone:
  seeds     networks per hour of every strategy to train many
  scaling   cost against epochs, data and seeds
  profile   where a step's time goes
  loading   images per second of a tree of JPEGs, also against torchvision
  kernels   what a GPU's compiler makes of a step, also without the GPU
  predict   what that should take on the GPU; nothing is measured

  report    the tables and plots in docs/, from benchmarks/results"""

COMPARED = ("step", "run", "evaluate", "augment", "compile")
COMMANDS = (*COMPARED, "seeds", "scaling", "profile", "loading", "kernels", "predict", "report")
EXIT_FAILED, EXIT_USAGE = 1, 2


def main(arguments: list[str]) -> int:
    """Run a command and return its exit code.

    0: it is measured. 1: a process failed, or the ratio is above --max-ratio. 2: bad usage or input. 130: interrupted
    by Ctrl-C, 143 by SIGTERM.
    """
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command not in COMMANDS:
        asked_for_help = command in ("-h", "--help")
        print(USAGE, file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else EXIT_USAGE
    try:
        with interrupted_by_sigterm():
            return run(command, rest)
    except (DataError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt as interrupted:
        print("interrupted before there was a record to keep", file=sys.stderr)
        return exit_code_of(interrupted)


def run(command: str, arguments: list[str]) -> int:
    """Run one of COMMANDS."""
    from benchmarks import kernels, loading, predict, profile, report, scaling, seeds, speed, startup

    modules = {
        "compile": startup,
        "seeds": seeds,
        "scaling": scaling,
        "profile": profile,
        "loading": loading,
        "kernels": kernels,
        "predict": predict,
        "report": report,
    }
    return modules[command].main(arguments) if command in modules else speed.main(command, arguments)


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
