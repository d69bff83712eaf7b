"""Results of finished groups on disk, while other groups of the same call still train.

    DIR/DIGEST.safetensors    beside the snapshots DIR/DIGEST/ of the same group (`airjax.training.snapshots`)

A group's snapshots are of a training that goes on. What a finished one needs is smaller: metrics, logits, and the
networks where they are asked for.
"""

import json
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from airjax.nn.build import Variables
from airjax.training.checkpoint import named_tensors, nest
from airjax.training.step import StepMetrics
from airjax.utils.records import write_atomically


class GroupResult(NamedTuple):
    """A group of g networks that is trained and evaluated, on the host."""

    metrics: StepMetrics  # each [g,t]
    logits: Float[np.ndarray, "g m l"]
    plain_accuracy: Float[np.ndarray, " g"] | None  # without test-time augmentation; None: nobody asked
    networks: list[Variables]  # g networks; empty: nobody asked
    seconds: dict[str, float]  # of each stage, of the group


def write_result(file: Path, result: GroupResult) -> None:
    """Write a result, atomically. Raises OSError."""
    from safetensors.numpy import save

    plain = {} if result.plain_accuracy is None else {"plain_accuracy": result.plain_accuracy}
    tensors = {"logits": result.logits, **result.metrics._asdict(), **plain}
    for number, network in enumerate(result.networks):
        tensors |= {f"{number}/{name}": np.asarray(leaf) for name, leaf in named_tensors(network).items()}
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    write_atomically(file, save(contiguous, {"seconds": json.dumps(result.seconds)}))


def read_result(file: Path, *, plain: bool, networks: bool) -> GroupResult | None:
    """Read a result back; None where there is none with the plain accuracies and networks that are asked for.

    One that cannot be read is passed over with a warning: its networks train again.
    """
    if not file.exists():
        return None
    try:
        tensors, seconds = _read(file)
        metrics = StepMetrics(*(tensors.pop(name) for name in StepMetrics._fields))
        logits, accuracy = tensors.pop("logits"), tensors.pop("plain_accuracy", None)
        if (plain and accuracy is None) or (networks and not tensors):
            return None
        count = len(logits) if networks else 0
        return GroupResult(metrics, logits, accuracy if plain else None, _networks(tensors, count), seconds)
    except Exception as error:  # whatever a damaged file makes safetensors raise
        warnings.warn(f"passing over the finished networks in {file}: {error}", stacklevel=2)
        return None


def _read(file: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as content:
        # Copies: the file may be removed.
        tensors = {name: np.array(content.get_tensor(name)) for name in content.keys()}  # noqa: SIM118
        return tensors, json.loads((content.metadata() or {})["seconds"])


def _networks(tensors: dict[str, Any], count: int) -> list[Variables]:
    parts: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, tensor in tensors.items():
        number, _, path = name.partition("/")
        if int(number) < count:
            parts[int(number)][path] = tensor
    return [nest(part) for part in parts]
