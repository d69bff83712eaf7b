"""The golden results: short trainings give what they gave before."""

import numpy as np
import pytest

from tests.golden import PRECISIONS, ROUNDING, SMALL, compare, compute, golden_images, same_environment


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SMALL)
def test_small_trainings_are_the_golden_ones(name: str, precision: str) -> None:
    found = compare(name, precision, compute(name, precision))
    assert found.losses <= ROUNDING[precision]
    assert found.equal or not same_environment()


def test_another_training_is_told_apart() -> None:
    found = compute("tiny", "float32")
    assert not compare("tiny", "float32", found._replace(losses=np.roll(found.losses, 1))).equal
    assert compare("tiny", "float32", found._replace(losses=1.01 * found.losses)).losses > ROUNDING["float32"]


def test_the_images_are_always_the_same() -> None:
    data = golden_images(100, 50)
    assert data.train_images.sum(dtype=np.int64) == 36_635_648
    assert data.test_labels[:10].tolist() == [6, 9, 9, 8, 9, 0, 3, 7, 2, 3]
