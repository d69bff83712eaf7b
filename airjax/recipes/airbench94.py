"""94% on CIFAR-10 in 9.9 epochs: `python -m airjax.train --target 94`."""

from airjax.recipes.claim import Claim
from airjax.recipes.recipe import Recipe

AIRBENCH94 = Recipe()

CLAIM = Claim(
    "94% in 9.9 epochs",
    target=0.94,
    expected_accuracy=0.9401,
    expected_sd=0.00128,
    evidence="Jordan 2024: n=1000 runs in float16 on an A100; the standard deviation over 10,000 runs",
)
