"""Fit linear datamodels by `airjax.stats.datamodels` and by scikit-learn's RidgeCV: same models? seconds, memory.

    pip install scikit-learn
    python -m benchmarks.ridge --networks 1000 --columns 5000 --keep

appends a line to ridge.jsonl. Each fit runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from airjax.cli.console import run_main
from airjax.stats.datamodels import PENALTIES, fit_datamodels, left_out_correlations
from airjax.training.environment import describe, versions
from airjax.utils.records import dump_json
from benchmarks.record import add_output_options, save
from parity.timing import host_peak_bytes


class Fit(NamedTuple):
    """What one implementation found, and at what cost."""

    seconds: float
    cpu_seconds: float  # of all threads: what other work on the machine changes less
    peak_bytes: int  # of the process
    penalties: np.ndarray  # [M], or one number for all
    weights: np.ndarray  # [N,M]
    left_out_correlation: np.ndarray  # [M]


def main(arguments: list[str]) -> int:
    """Time every implementation, and keep the line. Returns 0 where the shared penalty gives the same models."""
    parser = argparse.ArgumentParser("python -m benchmarks.ridge", description="Datamodels by airjax and scikit-learn.")
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--columns", type=int, default=5000, help="training examples")
    parser.add_argument("--outputs", type=int, default=1000, help="test examples")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    size, where = (options.networks, options.columns, options.outputs), describe()
    where["versions"] |= versions(("scikit-learn",))
    fits = {name: _alone(fit, size) for name, fit in FITS.items()}
    ours, shared = fits["airjax"], fits["sklearn, one penalty"]
    distance = float(np.abs(ours.weights - shared.weights).max() / np.abs(ours.weights).max())
    same = bool(ours.penalties == shared.penalties) and distance < 1e-9
    record = dict(zip(("networks", "columns", "outputs"), size, strict=True)) | {
        "seconds": {name: round(fit.seconds, 2) for name, fit in fits.items()},
        "cpu_seconds": {name: round(fit.cpu_seconds, 2) for name, fit in fits.items()},
        "peak_bytes": {name: fit.peak_bytes for name, fit in fits.items()},
        "left_out_correlation": {name: float(fit.left_out_correlation.mean()) for name, fit in fits.items()},
        "penalty": float(ours.penalties),
        "distance": distance,  # of the weights under one penalty, relative to the largest
        "same": same,
    }
    print(dump_json(record))
    save(options.results, "ridge.jsonl", record | where)
    return 0 if same else 1


def make_outputs(networks: int, columns: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Random halves of the training examples [R,N] bool, and outputs [R,M] that a few of them move, with noise."""
    generator = np.random.default_rng(0)
    seen = generator.random((networks, columns)) < 0.5
    weights = generator.normal(size=(columns, outputs)) * (generator.random((columns, outputs)) < 0.01)
    signal = seen.astype(np.float32) @ weights.astype(np.float32)
    return seen, signal + signal.std(0) * generator.normal(size=signal.shape)


def fit_ours(seen: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the penalty, weights and left-out correlations of airjax."""
    models = fit_datamodels(seen, outputs)
    return np.array(models.penalty), models.weights, models.left_out_correlation


def fit_shared(seen: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the same by RidgeCV, with one penalty for all outputs."""
    return _fit_sklearn(seen, outputs, alpha_per_target=False)


def fit_each(seen: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the same by RidgeCV, with a penalty for each output."""
    return _fit_sklearn(seen, outputs, alpha_per_target=True)


FITS: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {
    "airjax": fit_ours,
    "sklearn, one penalty": fit_shared,
    "sklearn, a penalty each": fit_each,
}


def _fit_sklearn(seen: np.ndarray, outputs: np.ndarray, alpha_per_target: bool) -> tuple[np.ndarray, ...]:
    from sklearn.linear_model import RidgeCV  # pyright: ignore[reportMissingImports]

    x = seen.astype(np.float64)
    spread = float(x.var(0).mean())
    alphas = np.array(PENALTIES) * spread
    # With a scoring, the left-out predictions are stored; without one, only their squared errors.
    scoring = "neg_mean_squared_error"
    found = RidgeCV(alphas, scoring=scoring, store_cv_results=True, alpha_per_target=alpha_per_target).fit(x, outputs)
    chosen = np.searchsorted(alphas, np.broadcast_to(found.alpha_, outputs.shape[1]))
    left_out = np.take_along_axis(found.cv_results_, chosen[None, :, None], axis=2)[:, :, 0]
    penalties = np.array(PENALTIES)[chosen if alpha_per_target else chosen[0]]
    return penalties, found.coef_.T, left_out_correlations(left_out, outputs)


def _alone(fit: Callable[..., tuple[np.ndarray, ...]], size: tuple[int, int, int]) -> Fit:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (fit, size))


def _measure(fit: Callable[..., tuple[np.ndarray, ...]], size: tuple[int, int, int]) -> Fit:
    seen, outputs = make_outputs(*size)
    fit(seen[:20, :30], outputs[:20, :3])  # imports and threads
    began, cpu_began = time.perf_counter(), time.process_time()
    penalties, weights, correlations = fit(seen, outputs)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return Fit(seconds, cpu_seconds, host_peak_bytes(), penalties, weights, correlations)


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
