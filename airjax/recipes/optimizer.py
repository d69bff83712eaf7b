"""How parameters move: optimizer, schedule, averaging and loss. (§4)"""

from dataclasses import dataclass, field

from airjax.recipes.optimizer_heavy_ball import TORCH_RANGES, HeavyBall, TorchUnits
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.ranges import TRACED, above, below, between
from airjax.utils.fields import Range, check_fields

KAPPA_BATCH = 1024  # examples; the constant of the decoupled hyperparameters, not the batch size


_NESTEROV_RANGES: dict[str, Range] = {
    "learning_rate": above(0, 1e9),
    "weight_decay": between(0, 100),
    "momentum": below(0, 1),
    "bias_scale": above(0, 1e6),
}
_TRIANGLE_RANGES: dict[str, Range] = {
    "schedule_start": between(0, 1),
    "schedule_peak": below(0, 1),
    "schedule_end": between(0, 1),
}
_PIECEWISE_RANGES: dict[str, Range] = {
    "schedule_drops": (
        lambda drops: all(0 < drop < 1 for drop in drops) and list(drops) == sorted(set(drops)),
        "between 0 and 1, in ascending order",
    ),
    "schedule_factor": above(0, 1),
}
_LOOKAHEAD_RANGES: dict[str, Range] = {
    "lookahead_every": between(1, 1_000_000, " steps"),
    "lookahead_decay": between(0, 1),
}
_LOSS_RANGES: dict[str, Range] = {"label_smoothing": below(0, 1)}


@dataclass(frozen=True)
class Nesterov:
    """SGD with Nesterov momentum, in decoupled hyperparameters. (§4.2-4.4)"""

    learning_rate: float = field(default=11.5, metadata=TRACED)
    """Decoupled learning rate: loss change per 1024 examples, independent of batch size and momentum."""
    weight_decay: float = field(default=0.0153, metadata=TRACED)
    """Decoupled weight decay per 1024 examples."""
    momentum: float = field(default=0.85, metadata=TRACED)
    """Nesterov momentum, in [0, 1)."""
    bias_scale: float = 64.0
    """Learning rate of the BatchNorm biases relative to the other parameters."""

    def __post_init__(self) -> None:
        check_fields(self, _NESTEROV_RANGES)

    @property
    def sgd_learning_rate(self) -> float:
        """Learning rate for a loss that is summed over the batch (§4.2)."""
        return self.learning_rate / _kappa(self.momentum)

    def sgd_weight_decay(self, batch_size: int) -> float:
        """Fraction of each parameter removed per step at learning-rate factor 1, before momentum (§4.2)."""
        return self.weight_decay * batch_size / _kappa(self.momentum)


@dataclass(frozen=True)
class Sgd(TorchUnits):
    """SGD with Nesterov momentum in torch's units: the rate is of the mean loss, and every parameter decays. (§7)"""

    learning_rate: float = field(default=0.1, metadata=TRACED)
    """Learning rate of the mean loss over a batch."""
    weight_decay: float = field(default=5e-4, metadata=TRACED)
    """Multiple of every parameter that is added to its gradient, before momentum."""
    momentum: float = field(default=0.9, metadata=TRACED)
    """Nesterov momentum, in [0, 1)."""

    def __post_init__(self) -> None:
        check_fields(self, TORCH_RANGES)


@dataclass(frozen=True)
class Triangle:
    """Learning-rate factor: a straight line up to 1, and another one down. (§4.5)"""

    schedule_start: float = 0.2
    """Learning-rate factor at the first step."""
    schedule_peak: float = 0.23
    """Fraction of the steps at which the learning-rate factor reaches 1."""
    schedule_end: float = 0.07
    """Learning-rate factor that the straight line after the peak would reach one step past the last."""

    def __post_init__(self) -> None:
        check_fields(self, _TRIANGLE_RANGES)


@dataclass(frozen=True)
class Piecewise:
    """Learning-rate factor: 1, and a fraction of what it was after each of some points of the training. (§7)"""

    schedule_drops: tuple[float, ...] = (0.3, 0.6, 0.8)
    """Fractions of the steps at which the learning rate drops."""
    schedule_factor: float = 0.2
    """What each drop multiplies the learning rate by."""

    def __post_init__(self) -> None:
        check_fields(self, _PIECEWISE_RANGES)


@dataclass(frozen=True)
class Lookahead:
    """Pull the network towards a slow moving average of itself, and end on that average. (§4.7)"""

    lookahead_every: int = 5
    """Steps between two lookahead updates."""
    lookahead_decay: float = 0.95**5
    """Fraction of the slow average kept by the last lookahead update; it grows with the cube of the progress."""

    def __post_init__(self) -> None:
        check_fields(self, _LOOKAHEAD_RANGES)


@dataclass(frozen=True)
class CrossEntropy:
    """Cross entropy against smoothed labels. (§4.1)"""

    label_smoothing: float = field(default=0.2, metadata=TRACED)
    """Probability mass that the label gives up to the uniform distribution over all classes, in [0, 1)."""

    def __post_init__(self) -> None:
        check_fields(self, _LOSS_RANGES)


Optimizer = Nesterov | Sgd | Muon | HeavyBall
Schedule = Triangle | Piecewise


def _kappa(momentum: float) -> float:
    # A step's gradient moves the parameters by 1 + m + m^2 + ... plus Nesterov's extra one.
    return KAPPA_BATCH * (1 + 1 / (1 - momentum))
