"""94% on CIFAR-10 in 7.65 epochs, from 94-muon by a search: `python -m airjax.train --recipe 94-hiverge`."""

from airjax.recipes.airbench94_muon import AIRBENCH94_MUON
from airjax.recipes.claim import Claim

AIRBENCH94_HIVERGE = AIRBENCH94_MUON.override(
    epochs=7.65,
    batch_size=1536,
    activation="silu",
    batchnorm_momentum=0.5566,
    batchnorm_half=True,
    whiten_examples=960,
    whiten_ascending=False,
    whiten_bias_epochs=7 / 32,  # 7 steps
    learning_rate=0.205,
    momentum=0.655,
    weight_decay=1.0418e-6,
    bias_learning_rate=0.0573,
    head_learning_rate=0.5415,
    sgd_momentum=0.825,
    newton_schulz_coefficients=(3.4576, -4.7391, 2.0843),
    newton_schulz_precision="float16",
    renormalize_every=2,
    renormalize_growth=15.0,
    conv_weight_decay=1.0418e-6,
    label_smoothing=0.09,
    brightness=0.1399,
    contrast=0.1308,
    tta_fraction=0.25,
    tta_uniform=True,
)

CLAIM = Claim(
    "94% in 7.65 epochs, from 94-muon by a search",
    target=0.94,
    expected_accuracy=0.9402,
    expected_sd=None,
    evidence="Hiverge's cifar10-speedrun, October 2025: runs in float16 on an A100; not yet run in full here",
)
