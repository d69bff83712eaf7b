"""Our own way to 94%: 94-muon with images that grow: `python -m airjax.train --recipe 94-airjax`. (§8)"""

from airjax.recipes.airbench94_muon import AIRBENCH94_MUON
from airjax.recipes.claim import Claim
from airjax.recipes.curriculum import Curriculum

# Muon and the curriculum saved operations in experiments/methods; the tail and crops of low discrepancy did not.
AIRBENCH94_AIRJAX = AIRBENCH94_MUON.override(resolution=Curriculum(), epochs=9.0)  # three of each size

CLAIM = Claim(
    "94-muon on images of 24, 28 and then 32 pixels, in nine epochs",
    target=0.94,
    expected_accuracy=None,
    expected_sd=None,
    evidence="chosen by experiments/methods at mini scale; benchmarks/results/accuracy.jsonl: 94.01% (93.96 to 94.07), "
    "n=27 networks in bfloat16 on an H200; 94.01% (93.67 to 94.34), n=4 on a CPU",
)
