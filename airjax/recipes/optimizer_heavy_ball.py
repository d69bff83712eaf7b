"""SGD with plain momentum, in torch's units: what FFCV trains ImageNet with. (§9)"""

from dataclasses import dataclass, field

from airjax.recipes.ranges import TRACED, above, below, between
from airjax.utils.fields import Range, check_fields

TORCH_RANGES: dict[str, Range] = {
    "learning_rate": above(0, 1e6),
    "weight_decay": between(0, 100),
    "momentum": below(0, 1),
}


class TorchUnits:
    """Rate and decay in torch's units: of the mean loss, the same for every batch size."""

    learning_rate: float
    weight_decay: float

    @property
    def sgd_learning_rate(self) -> float:
        """Learning rate for a loss that is averaged over the batch."""
        return self.learning_rate

    def sgd_weight_decay(self, batch_size: int) -> float:
        """Multiple of each parameter that decays that is added to its gradient; the same for every batch size."""
        del batch_size
        return self.weight_decay


@dataclass(frozen=True)
class HeavyBall(TorchUnits):
    """SGD with momentum that is not Nesterov's, in torch's units; BatchNorms decay in shortcuts alone. (§9)

    In the released code no parameter decays that has "bn" in its name in torch: so the BatchNorms of shortcuts, which
    torchvision calls downsample.1, do decay, and so does the head's bias.
    """

    learning_rate: float = field(default=0.5, metadata=TRACED)
    """Learning rate of the mean loss over a batch."""
    weight_decay: float = field(default=5e-5, metadata=TRACED)
    """Multiple of every parameter that decays which is added to its gradient, before momentum."""
    momentum: float = field(default=0.9, metadata=TRACED)
    """Momentum, in [0, 1)."""

    def __post_init__(self) -> None:
        check_fields(self, TORCH_RANGES)
