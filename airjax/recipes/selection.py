"""Which examples of a batch a network trains on: those that a small network beside it finds the hardest. (§4.8)"""

import math
from dataclasses import dataclass, replace

from airjax.recipes.inputs import Inputs
from airjax.recipes.network import AirbenchNet, Network
from airjax.recipes.ranges import CHANNELS, above, between
from airjax.utils.fields import Range, check_fields

_RANGES: dict[str, Range] = {
    "proxy_widths": CHANNELS,
    "proxy_convs_per_block": between(2, 3),
    "proxy_keep": above(0, 1),
    "proxy_every": between(1, 1_000_000, " steps"),
}


@dataclass(frozen=True)
class ProxySelection:
    """A small network, the proxy, looks at every batch first; both train on its examples of the largest loss. (§4.8)"""

    proxy_widths: tuple[int, int, int] = (32, 64, 64)
    """Channels of the proxy's three blocks."""
    proxy_convs_per_block: int = 2
    """3x3 convolutions in each of the proxy's blocks, 2 or 3."""
    proxy_keep: float = 0.5
    """Fraction of each batch that is trained on: the examples of the largest loss by the proxy."""
    proxy_every: int = 4
    """Steps from one update of the proxy to the next; between two it only selects."""
    proxy_lookahead: bool = False
    """Whether the recipe's lookahead averages the proxy, too."""

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)

    def num_kept(self, batch_size: int) -> int:
        """Count the examples of a batch that are trained on; at least one."""
        return max(1, round(self.proxy_keep * batch_size))

    def network_for(self, network: Network) -> AirbenchNet:
        """Return the proxy of a network: the same but for its size, without a bias in its first convolution."""
        if not isinstance(network, AirbenchNet):
            momentum, groups = network.batchnorm_momentum, network.batchnorm_groups
            network = AirbenchNet(batchnorm_momentum=momentum, batchnorm_groups=groups)
        widths, convs_per_block = self.proxy_widths, self.proxy_convs_per_block
        return replace(network, widths=widths, convs_per_block=convs_per_block, residual="none", whiten_bias=False)

    def flops(self, network: Network, inputs: Inputs, batch_size: int, num_steps: int) -> float:
        """Count the proxy's floating-point operations: it looks at every batch, and its updates go back through it."""
        passes = num_steps + 2 * math.ceil(num_steps / self.proxy_every)
        return 2.0 * self.network_for(network).forward_macs(inputs) * batch_size * passes
