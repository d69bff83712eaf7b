"""94 scaled down: for studies of many networks on a CPU, and for tests."""

from airjax.recipes.airbench94 import AIRBENCH94
from airjax.recipes.claim import Claim

MINI = AIRBENCH94.override(
    epochs=3.0,
    batch_size=50,
    train_examples=3000,
    test_examples=2000,
    widths=(16, 32, 32),
    whiten_bias_epochs=1.0,
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
