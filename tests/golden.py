"""Golden results: what short trainings gave before the code was rearranged, and whether they still give it.

    python -m tests.golden write    # compute all of them and replace tests/golden.npz
    python -m tests.golden check    # compute all of them and compare; minutes on two cores

Each case is a training of a recipe on a CPU, on images of this file's own, in float32 or bfloat16: the losses of all
its steps and the logits of its test images. tests/test_golden.py computes the small ones.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from airjax.data.dataset import CIFAR10_CLASSES, Dataset
from airjax.data.info import CIFAR10
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.environment import cpu_kind, describe
from airjax.training.loop import train

FILE = Path(__file__).with_name("golden.npz")
STEPS = 20  # of the large recipes
SMALL = ("tiny", "mini")
LARGE = ("94", "95", "96")
PRECISIONS = ("float32", "bfloat16")
# On another processor or with other versions sums have another order, and every step amplifies the difference. These
# are the largest relative differences of the first losses that count as rounding.
FIRST_STEPS = 5
ROUNDING = {"float32": 1e-4, "bfloat16": 3e-2}
# The same bits of all losses are the same network. Its logits round as an evaluation groups its images: since the first
# layer is computed once for all views of an image, at up to 1e-6.
LOGITS = 1e-5


class Golden(NamedTuple):
    """What one training gave."""

    losses: np.ndarray  # [T]
    logits: np.ndarray  # [M,10]


class Difference(NamedTuple):
    """How far a training is from its golden result."""

    case: str
    equal: bool  # losses to the bit, and logits as near as those of the same network
    losses: float  # largest relative difference of the first losses
    logits: float  # largest absolute difference


def cases(names: tuple[str, ...] = SMALL + LARGE) -> list[tuple[str, str]]:
    """Recipe and precision of every case."""
    return [(name, precision) for name in names for precision in PRECISIONS]


def golden_recipe(name: str, precision: str) -> Recipe:
    """The recipe of a case: small ones as they are, of large ones one epoch of 20 steps, with both of their phases."""
    changes: dict[str, Any] = {"precision": precision}
    if name in LARGE:
        examples = STEPS * RECIPES[name].batch_size
        changes |= {"epochs": 1.0, "train_examples": examples, "test_examples": 200, "whiten_bias_epochs": 0.5}
    return RECIPES[name].override(**changes)


def golden_images(num_train: int, num_test: int) -> Dataset:
    """Images as smooth as natural ones, in which brightness and colour tell the class; always the same."""
    images, labels = zip(*(_split(count, seed) for seed, count in ((1, num_train), (2, num_test))), strict=True)
    return Dataset("golden", images[0], labels[0], images[1], labels[1], CIFAR10_CLASSES, CIFAR10)


def _split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    bits = np.random.PCG64(seed)
    raw = np.frombuffer(bits.random_raw(count * 4 * 4 * 3 // 8 + count).tobytes(), np.uint8)
    coarse = raw[: count * 48].reshape(count, 4, 4, 3).astype(np.int32)
    labels = (raw[-count:] % 10).astype(np.int32)
    # Whole numbers only: a 4x4 grid of colours, every pixel the mean of two neighbours in each direction.
    large = coarse.repeat(8, axis=1).repeat(8, axis=2)
    smooth = (large + np.roll(large, 4, axis=1) + np.roll(large, 4, axis=2) + np.roll(large, (4, 4), axis=(1, 2))) // 4
    tint = np.stack([labels * 10, 90 - labels * 10, (labels % 5) * 20], axis=1)
    return ((smooth * 3 // 5) + tint[:, None, None, :]).clip(0, 255).astype(np.uint8), labels


def compute(name: str, precision: str) -> Golden:
    """Train a case."""
    recipe = golden_recipe(name, precision)
    done = train(recipe, golden_images(recipe.train_examples, recipe.test_examples), seed=0)
    return Golden(np.asarray(done.metrics.loss, np.float32), np.asarray(done.logits, np.float32))


def compare(name: str, precision: str, found: Golden) -> Difference:
    """Compare a training with its golden result."""
    with np.load(FILE) as content:
        losses, logits = content[f"{name}-{precision}-losses"], content[f"{name}-{precision}-logits"]
    equal = np.array_equal(losses, found.losses) and np.allclose(logits, found.logits, rtol=0, atol=LOGITS)
    first = losses[:FIRST_STEPS]
    relative = float(np.abs(found.losses[:FIRST_STEPS] / first - 1).max())
    return Difference(f"{name} {precision}", equal, relative, float(np.abs(found.logits - logits).max()))


def recorded_environment() -> dict[str, Any]:
    """Device, versions and commit of the golden results."""
    with np.load(FILE) as content:
        return json.loads(str(content["environment"]))


def same_environment() -> bool:
    """Whether this process computes with the processor and the versions of the golden results: then bits are equal."""
    then, now = recorded_environment(), describe()
    same_versions = all(
        now["versions"][name] == then["versions"][name] for name in ("jax", "jaxlib", "onednn-cpu-gomp")
    )
    # Processors of one name may be of several generations, for which oneDNN chooses other kernels.
    same_processor = then.get("cpu") == cpu_kind() and all(
        now[name] == then[name] for name in ("device", "convolution")
    )
    return same_versions and same_processor


def main(arguments: list[str]) -> int:
    """Write or check all cases. Returns the exit code: 1 where one is not the same, 2 for bad usage."""
    if arguments[:1] not in (["write"], ["check"]) or set(arguments[1:]) - set(SMALL + LARGE):
        print("usage: python -m tests.golden write|check [RECIPE...]", file=sys.stderr)
        return 2
    if arguments[0] == "write":
        content: dict[str, Any] = {"environment": np.array(json.dumps(describe() | {"cpu": cpu_kind()}))}
        for name, precision in cases():
            print(f"{name} {precision}", flush=True)
            for part, array in compute(name, precision)._asdict().items():
                content[f"{name}-{precision}-{part}"] = array
        np.savez_compressed(FILE, **content)
        return 0
    exact, failed = same_environment(), False
    print("equal bits are expected" if exact else "another processor or other versions: rounding is expected")
    for name, precision in cases(tuple(arguments[1:]) or SMALL + LARGE):
        found = compare(name, precision, compute(name, precision))
        held = found.equal or (not exact and found.losses <= ROUNDING[precision])
        failed |= not held
        verdict = "equal" if found.equal else "differs"
        print(f"{found.case:18} {verdict:8} losses {found.losses:.1e}  logits {found.logits:.1e}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
