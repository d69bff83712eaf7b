"""What a network takes and gives."""

from typing import Any

import numpy as np
import pytest

from airjax.recipes.inputs import Inputs


def test_the_defaults_are_those_of_cifar10_and_equal_values_are_equal_inputs() -> None:
    assert (Inputs().image_size, Inputs().channels, Inputs().num_classes) == (32, 3, 10)
    written = Inputs(np.int64(28), 1, 10, [np.float64(0.25)], (1,))  # pyright: ignore[reportArgumentType]
    assert written == Inputs(28, 1, 10, (0.25,), (1.0,))
    assert hash(written) == hash(Inputs(28, 1, 10, (0.25,), (1.0,)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 0}, "inputs.image-size is 0, but it must be a whole number from 1 to 512 pixels"),
        ({"channels": 5}, "inputs.channels is 5, but it must be a whole number from 1 to 4"),
        ({"num_classes": 1}, "inputs.num-classes is 1, but it must be a whole number from 2 to 100000"),
        ({"mean": (0.5,)}, "inputs.mean has 1 numbers, but images have 3 channels"),
        ({"std": (0.2, 0.2, 0)}, "but it must be a list of numbers, each a number of numbers above 0 and at most 10"),
        ({"mean": 0.5}, "inputs.mean is 0.5, but it must be a list of numbers, each a number"),
    ],
)
def test_what_no_network_takes_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Inputs(**wrong)
