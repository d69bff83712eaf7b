"""ResNet-18 on CIFAR-10, the baselines that the paper compares with: `python -m airjax.train --recipe resnet18-80`."""

from airjax.recipes.airbench94 import AIRBENCH94
from airjax.recipes.claim import Claim
from airjax.recipes.network_resnet import ResNet18
from airjax.recipes.optimizer import Piecewise, Sgd, Triangle

RESNET18 = AIRBENCH94.override(
    network=ResNet18(),
    optimizer=Sgd(learning_rate=0.1, weight_decay=5e-4, momentum=0.9),
    schedule=Piecewise((0.3, 0.6, 0.8), 0.2),  # epochs 60, 120 and 160 of 200
    lookahead=False,
    epochs=200.0,
    batch_size=128,
    label_smoothing=0.0,
    flip="random",
    translate=4,
    padding="zero",
    cutout=16,
    cutout_form="clipped",
    tta_level=0,
)

CLAIM = Claim(
    "ResNet-18 with cutout, in 200 epochs",
    target=0.96,
    expected_accuracy=0.9601,
    expected_sd=None,
    evidence="DeVries & Taylor 2017: n=5 runs; not yet run in full here",
)

RESNET18_80 = RESNET18.override(
    schedule=Triangle(schedule_start=0.2, schedule_peak=0.2, schedule_end=0.0),
    epochs=80.0,
    batch_size=500,
    learning_rate=0.2,
    padding="reflect",
    cutout=12,
    cutout_form="inside",
    tta_level=1,
)

CLAIM_80 = Claim(
    "ResNet-18 in 80 epochs",
    target=0.96,
    expected_accuracy=0.95875,
    expected_sd=0.0012,
    evidence="Jordan's baseline of March 2024: n=100 runs in float16 on an A100; not yet run in full here",
)
