"""96% on CIFAR-10 from the half of each batch that a small network chooses: `airjax train --recipe 96-faster`."""

from airjax.recipes.airbench96 import AIRBENCH96
from airjax.recipes.claim import Claim
from airjax.recipes.mini import MINI, scale_down
from airjax.recipes.selection import ProxySelection

AIRBENCH96_FASTER = AIRBENCH96.override(
    epochs=45.0,
    selection=ProxySelection(),
    drop_remainder=False,
    # As released, where the bias is never frozen: the number of an epoch is compared with 3 epochs' steps. With 3.0 it
    # is what was meant.
    whiten_bias_epochs=None,
)

CLAIM = Claim(
    "96% in 45 epochs on half of each batch",
    target=0.96,
    expected_accuracy=0.96,
    expected_sd=None,
    evidence="airbench96_faster: n=200 runs in float16 on an A100; not yet run in full here",
)

MINI_FASTER = scale_down(AIRBENCH96_FASTER, MINI.batch_size).override(epochs=12.0, proxy_widths=(8, 16, 16))

CLAIM_MINI = Claim(
    "96-faster scaled down, for studies on a CPU",
    target=None,
    expected_accuracy=None,
    expected_sd=None,
    evidence="learns in seconds; no distribution of it has been measured",
)
