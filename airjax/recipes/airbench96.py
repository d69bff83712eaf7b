"""96% on CIFAR-10, as released and as in the paper: `python -m airjax.train --target 96`."""

from airjax.recipes.airbench94 import AIRBENCH94
from airjax.recipes.claim import Claim

AIRBENCH96 = AIRBENCH94.override(
    epochs=37.0,
    widths=(128, 384, 512),
    convs_per_block=3,
    residual="before-activation",
    batchnorm_momentum=0.9,
    learning_rate=9.0,
    weight_decay=0.012,
    schedule_peak=0.1,
    schedule_end=0.0,
    translate=4,
    cutout=12,
)

CLAIM = Claim(
    "96% in 37 epochs, as released",
    target=0.96,
    expected_accuracy=0.9603,
    expected_sd=None,
    evidence="airbench96: n=400 runs in float16 on an A100",
)

AIRBENCH96_PAPER = AIRBENCH96.override(
    epochs=40.0,
    widths=(128, 512, 512),
    residual="after-activation",
    batchnorm_momentum=0.6,
    weight_decay=0.0153,
    schedule_peak=0.23,
    schedule_end=0.07,
)

CLAIM_PAPER = Claim(
    "96% in 40 epochs, as in the paper",
    target=0.96,
    expected_accuracy=0.9605,
    expected_sd=None,
    evidence="Jordan 2024: n=200 runs in float16 on an A100",
)
