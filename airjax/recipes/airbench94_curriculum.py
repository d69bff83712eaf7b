"""94-muon on images that grow from 24 to 32 pixels: `python -m airjax.train --recipe 94-curriculum`."""

from airjax.recipes.airbench94_muon import AIRBENCH94_MUON
from airjax.recipes.claim import Claim
from airjax.recipes.curriculum import Curriculum, Tail

AIRBENCH94_CURRICULUM = AIRBENCH94_MUON.override(
    resolution=Curriculum(),  # 24, 28 and 32 pixels, three epochs of each
    ending=Tail(),
    epochs=9.16,  # nine, in which the schedule ends, and four steps
)

CLAIM = Claim(
    "94-muon on images of 24, 28 and then 32 pixels",
    target=0.94,
    expected_accuracy=None,
    expected_sd=None,
    evidence="the curriculum and the tail are published with other constants; that 94-muon with both, in 9.16 epochs, "
    "reaches 94% is our prediction: not yet run in full",
)
