"""95% on CIFAR-10 in 15 epochs: `python -m airjax.train --target 95`."""

from airjax.recipes.airbench94 import AIRBENCH94
from airjax.recipes.claim import Claim

AIRBENCH95 = AIRBENCH94.override(epochs=15.0, widths=(128, 384, 384), learning_rate=10.0)

CLAIM = Claim(
    "95% in 15 epochs",
    target=0.95,
    expected_accuracy=0.9501,
    expected_sd=None,
    evidence="Jordan 2024: n=200 runs in float16 on an A100",
)
