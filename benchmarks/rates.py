"""The largest rates of this device: a product of large random matrices, and a copy. One line of rates.jsonl."""

import argparse
import sys

import jax.numpy as jnp

from airjax.cli.console import run_main
from airjax.training.environment import describe
from airjax.utils.platform import default_platform
from benchmarks.record import add_output_options, save
from benchmarks.work import measure_rates
from parity.timing import COPY_BYTES, MATMUL_SIZE

FILE = "rates.jsonl"


def main(arguments: list[str]) -> int:
    """Measure, print, and save the line. Returns 0."""
    parser = argparse.ArgumentParser("python -m benchmarks.rates", description="The largest rates of this device.")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    kind = "cpu" if default_platform() == "cpu" else "cuda"
    dtype, where = jnp.float32 if kind == "cpu" else jnp.bfloat16, describe()
    matmul_rate, copy_rate = measure_rates(MATMUL_SIZE[kind], dtype, COPY_BYTES[kind])
    precision = jnp.dtype(dtype).name
    print(f"{matmul_rate / 1e12:.3g} TFLOP/s in {precision}, {copy_rate / 1e9:.4g} GB/s read and written")
    record = {"matmul_rate": matmul_rate, "copy_rate": copy_rate, "precision": precision}
    save(options.results, FILE, record | where)
    return 0


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
