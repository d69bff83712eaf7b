"""Muon and its numbers. (§4.6)"""

from dataclasses import dataclass, field
from typing import Literal

from airjax.recipes.ranges import TRACED, above, below, between
from airjax.utils.fields import Range, check_fields

_MUON_RANGES: dict[str, Range] = {
    "learning_rate": above(0, 1e6),
    "weight_decay": between(0, 100),
    "momentum": below(0, 1),
    "bias_learning_rate": above(0, 1e6),
    "head_learning_rate": above(0, 1e6),
    "sgd_momentum": below(0, 1),
    "newton_schulz_steps": between(1, 100),
    "newton_schulz_epsilon": above(0, 1),
    "renormalize_every": between(1, 1_000_000, " steps"),
    "renormalize_growth": between(0, 1_000_000, " steps"),
    "conv_weight_decay": between(0, 100),
}


@dataclass(frozen=True)
class Muon:
    """Orthogonalised momentum for the convolutions, SGD with Nesterov momentum for biases and head. (§4.6)"""

    learning_rate: float = field(default=0.24, metadata=TRACED)
    """Learning rate of the convolutions: what their orthogonalised momentum is multiplied by."""
    weight_decay: float = field(default=2e-6, metadata=TRACED)
    """Fraction of biases and head removed per step and example of the batch, before momentum; none of convolutions."""
    momentum: float = field(default=0.6, metadata=TRACED)
    """Nesterov momentum of the convolutions, in [0, 1)."""
    bias_learning_rate: float = 0.053
    """Learning rate of all biases, of the loss summed over the batch."""
    head_learning_rate: float = 0.67
    """Learning rate of the head, of the loss summed over the batch."""
    sgd_momentum: float = 0.85
    """Nesterov momentum of biases and head, in [0, 1)."""
    newton_schulz_steps: int = 3
    """Iterations by which a convolution's momentum is orthogonalised."""
    newton_schulz_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    """Coefficients of an iteration's polynomial, of the first, third and fifth power."""
    newton_schulz_epsilon: float = 1e-7
    """Added to the norm that the momentum is divided by before the first iteration."""
    newton_schulz_precision: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """What the factors of an iteration's products are rounded to; a recipe in float64 rounds them no further."""
    renormalize_every: int = 1
    """Steps from one rescaling of a convolution's kernel to the next."""
    renormalize_growth: float = 0.0
    """Steps by which that interval grows from the beginning of training to its end, rounded down."""
    conv_weight_decay: float = 0.0
    """Fraction of a convolution's kernel removed after a step, per example of the batch and unit of learning rate."""

    def __post_init__(self) -> None:
        check_fields(self, _MUON_RANGES)

    @property
    def sgd_learning_rate(self) -> float:
        """Learning rate of the convolutions."""
        return self.learning_rate

    def sgd_weight_decay(self, batch_size: int) -> float:
        """Fraction of biases and head removed per step at learning-rate factor 1, before momentum."""
        return self.weight_decay * batch_size

    def renormalizes(self, num_steps: int) -> tuple[bool, ...]:
        """Say of every step of a training whether it rescales kernels: where enough steps have passed since the last.

        Steps are counted from 1, and the first interval begins before step 1.
        """
        last, found = 0, []
        for step in range(1, num_steps + 1):
            interval = self.renormalize_every + int(self.renormalize_growth * step / num_steps)
            found.append(step - last >= interval)
            last = step if found[-1] else last
        return tuple(found)
