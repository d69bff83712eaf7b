"""Which training examples are held out for validation: a fixed draw, in which every class has its proportion."""

import numpy as np
from jaxtyping import Bool, Integer

from airjax.utils.fields import check_value


def draw_validation(labels: Integer[np.ndarray, " n"], count: int, seed: int = 0) -> Bool[np.ndarray, " n"]:
    """Choose which of the examples are held out: count of them.

    Each example gets the next number of the generator PCG64 with this seed, whose stream numpy keeps stable forever.
    The examples of a class with the smallest numbers are held out: its proportion of count, rounded down, and one more
    in the classes with the largest remainders (of equal ones those with the lower label). So the same labels, count
    and seed are the same draw on every machine.

    Raises ValueError where count is no whole number from 1, or would leave a class without a training example.
    """
    wanted = check_value("validation", count, int, (lambda number: number >= 1, "of training examples from 1"))
    held_out = np.zeros(len(labels), bool)
    keys = np.random.PCG64([seed]).random_raw(len(labels))
    for label, number in _apportion(labels, wanted).items():
        members = np.flatnonzero(labels == label)
        held_out[members[np.argsort(keys[members], kind="stable")[:number]]] = True
    return held_out


def _apportion(labels: np.ndarray, count: int) -> dict[int, int]:
    # Examples to hold out of each class, which keeps at least one.
    classes, sizes = (column.tolist() for column in np.unique(labels, return_counts=True))
    most = len(labels) - len(classes)
    if count > most:
        raise ValueError(
            f"validation is {count}, but only {most} of its {len(labels)} training examples can be held out, because "
            f"each of its {len(classes)} classes keeps one; ask for fewer"
        )
    taken = [min(count * size // len(labels), size - 1) for size in sizes]
    order = sorted(range(len(classes)), key=lambda index: -(count * sizes[index] % len(labels)))
    while (left := count - sum(taken)) > 0:
        for index in [index for index in order if taken[index] < sizes[index] - 1][:left]:
            taken[index] += 1
    return dict(zip(classes, taken, strict=True))
