"""94 scaled down: for studies of many networks on a CPU, and for tests."""

from airjax.recipes.airbench94 import AIRBENCH94
from airjax.recipes.claim import Claim
from airjax.recipes.recipe import Recipe

MINI = AIRBENCH94.override(
    epochs=3.0,
    batch_size=50,
    train_examples=3000,
    test_examples=2000,
    widths=(16, 32, 32),
    whiten_bias_epochs=1.0,
)


def scale_down(method: Recipe, batch_size: int) -> Recipe:
    """Return a recipe with the images and widths of mini, batches of this size, and as many epochs as it has.

    The first layer's bias is trained for a third of mini's epochs where that is as in 94. Muon's rates of biases and
    head are of a loss that is summed over a batch, so they grow as it shrinks.
    """
    names = ("train_examples", "test_examples", "widths")
    if method.value_of("whiten_bias_epochs") == AIRBENCH94.value_of("whiten_bias_epochs"):
        names += ("whiten_bias_epochs",)
    factor = method.batch_size / batch_size
    rates = {name: method.value_of(name) for name in ("bias_learning_rate", "head_learning_rate")}
    return method.override(
        batch_size=batch_size,
        **{name: MINI.value_of(name) for name in names},
        **{name: round(rate * factor, 4) for name, rate in rates.items() if rate is not None},
    )


CLAIM = Claim(
    "94 scaled down, for studies on a CPU",
    target=None,
    expected_accuracy=0.3955,
    expected_sd=0.0184,
    evidence="benchmarks/results/parity.jsonl: n=100 runs in float32 on a CPU, on 2,000 test images",
)

TINY = MINI.override(
    epochs=2.0,
    batch_size=32,
    train_examples=256,
    test_examples=100,
    whiten_examples=100,
    widths=(8, 8, 8),
)

CLAIM_TINY = Claim(
    "a second or less, for tests of machinery",
    target=None,
    expected_accuracy=None,
    expected_sd=None,
    evidence="learns next to nothing",
)
