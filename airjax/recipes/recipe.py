"""Recipes: every number of a training method, with its unit, as one frozen and hashable value.

A recipe is a claim. Each one states what it is expected to reach, and its steps, parameters and FLOPs follow from its
fields. `python -m airjax.recipe` prints them all.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from airjax.utils.fields import Range, check_fields

CLASSES = 10


IMAGE_SIZE = 32  # pixels, height and width


WHITEN_KERNEL = 2  # pixels


WHITEN_WIDTH = 24  # the 3 * 2 * 2 = 12 eigenfilters and their negatives


LARGEST_COUNT = 100_000_000  # examples


KAPPA_BATCH = 1024  # examples; the constant of the decoupled hyperparameters, not the batch size


Flip = Literal["none", "random", "alternating", "alternating-hash"]


Order = Literal["reshuffle", "replacement", "fixed"]


Residual = Literal["none", "before-activation", "after-activation"]


PrecisionName = Literal["auto", "float32", "bfloat16", "float16", "float64"]


# What a compiled run takes as arguments: other values compile nothing.
HYPERPARAMETERS = ("learning_rate", "weight_decay", "momentum", "label_smoothing")


@dataclass(frozen=True)
class Recipe:
    """One training method; the defaults are those of 94. Section numbers refer to docs/recipes.md."""

    # Length
    epochs: float = 9.9
    """Length of training, in passes over the training examples. May be fractional."""
    batch_size: int = 1024
    """Examples per optimizer step."""
    train_examples: int = 50_000
    """Training examples used: the first so many of the data set."""
    test_examples: int = 10_000
    """Test examples evaluated: the first so many of the data set."""

    # Network (§1)
    widths: tuple[int, int, int] = (64, 256, 256)
    """Channels of the three blocks."""
    convs_per_block: int = 2
    """3x3 convolutions in each block, 2 or 3."""
    residual: Residual = "none"
    """Add the first convolution's output to the last one's, before or after the last activation."""
    logit_scale: float = 1 / 9
    """Factor on the logits."""
    batchnorm_momentum: float = 0.6
    """Fraction of the old running statistics that BatchNorm keeps at each step."""
    batchnorm_epsilon: float = 1e-12
    """Added to the variance in BatchNorm."""

    # Initialisation (§1, §2)
    whiten: bool = True
    """Set the first convolution to whitening filters and freeze it; otherwise it starts as usual and is trained."""
    whiten_examples: int = 5000
    """Training examples whose patches the whitening filters are computed from."""
    whiten_epsilon: float = 5e-4
    """Added to the eigenvalues of the patches' second moment before the inverse square root."""
    whiten_bias: bool = True
    """Give the first convolution a bias, initially zero."""
    whiten_bias_epochs: float | None = 3.0
    """Epochs after which the first convolution's bias is frozen; None trains it to the end."""
    dirac: bool = True
    """Initialise the first input-many filters of every 3x3 convolution as the identity."""

    # Optimisation (§4)
    learning_rate: float = 11.5
    """Decoupled learning rate: loss change per 1024 examples, independent of batch size and momentum."""
    weight_decay: float = 0.0153
    """Decoupled weight decay per 1024 examples."""
    momentum: float = 0.85
    """Nesterov momentum, in [0, 1)."""
    bias_scale: float = 64.0
    """Learning rate of the BatchNorm biases relative to the other parameters."""
    label_smoothing: float = 0.2
    """Probability mass that the label gives up to the uniform distribution over all classes, in [0, 1)."""
    schedule_start: float = 0.2
    """Learning-rate factor at the first step."""
    schedule_peak: float = 0.23
    """Fraction of the steps at which the learning-rate factor reaches 1."""
    schedule_end: float = 0.07
    """Learning-rate factor that the straight line after the peak would reach one step past the last."""
    lookahead: bool = True
    """Pull the network towards a slow moving average of itself, and end on that average."""
    lookahead_every: int = 5
    """Steps between two lookahead updates."""
    lookahead_decay: float = 0.95**5
    """Share of the slow average kept by the last lookahead update; it grows with the cube of the progress."""

    # Data (§3)
    flip: Flip = "alternating"
    """Horizontal flip: none; random each epoch; alternating from a random start; alternating from an index hash."""
    order: Order = "reshuffle"
    """Order of the examples: a new permutation each epoch; sampled with replacement; the data set's own order."""
    translate: int = 2
    """Largest random shift, in pixels, with reflected borders."""
    cutout: int = 0
    """Side of the square set to the mean colour, in pixels; 0 for none."""

    # Evaluation (§5) and arithmetic
    tta_level: int = 2
    """Test-time augmentation: 0 none, 1 mirror, 2 mirror and two one-pixel shifts."""
    precision: PrecisionName = "auto"
    """Arithmetic: float32 on a CPU and bfloat16 with float32 master weights elsewhere (auto), or the one named."""

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        if self.residual != "none" and self.convs_per_block != 3:
            raise ValueError("residual needs convs-per-block 3: the connection skips the second and third convolution")
        if self.steps_per_epoch < 1:
            raise ValueError(
                f"batch-size is {self.batch_size}, but there are only {self.train_examples} training examples; "
                "make batch-size smaller"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass; the remainder is dropped."""
        return self.train_examples // self.batch_size

    @property
    def total_steps(self) -> int:
        """Optimizer steps of a run."""
        return math.ceil(self.steps_per_epoch * self.epochs)

    @property
    def freeze_step(self) -> int:
        """First step (from 0) at which the first convolution's bias no longer trains; total_steps if it always does."""
        if not self.whiten_bias or self.whiten_bias_epochs is None:
            return self.total_steps
        return min(self.total_steps, round(self.whiten_bias_epochs * self.steps_per_epoch))

    @property
    def sgd_learning_rate(self) -> float:
        """Learning rate for a loss that is summed over the batch (§4.2)."""
        return self.learning_rate / _kappa(self.momentum)

    @property
    def sgd_weight_decay(self) -> float:
        """Fraction of each parameter removed per step at learning-rate factor 1, before momentum (§4.2)."""
        return self.weight_decay * self.batch_size / _kappa(self.momentum)

    @property
    def num_params(self) -> int:
        """Parameters, counting the whitening filters and the BatchNorm biases (BatchNorm has no scale)."""
        convs = sum(9 * c.inputs * c.outputs for c in conv_shapes(self))
        norms = sum(c.outputs for c in conv_shapes(self))
        first = WHITEN_KERNEL**2 * 3 * WHITEN_WIDTH + (WHITEN_WIDTH if self.whiten_bias else 0)
        return first + convs + norms + self.widths[-1] * CLASSES

    @property
    def forward_macs(self) -> int:
        """Multiply-accumulates of one image's forward pass through the network as defined."""
        first = (IMAGE_SIZE - 1) ** 2 * WHITEN_KERNEL**2 * 3 * WHITEN_WIDTH
        return first + sum(c.size**2 * 9 * c.inputs * c.outputs for c in conv_shapes(self)) + self.widths[-1] * CLASSES

    @property
    def flops(self) -> float:
        """Floating-point operations of a run: three forward costs per training image, plus the test views."""
        views = (1, 2, 6)[self.tta_level]
        return 2.0 * self.forward_macs * (3 * self.total_steps * self.batch_size + views * self.test_examples)

    def fit_to(self, num_train: int, num_test: int) -> "Recipe":
        """The same recipe using no more examples than there are."""
        return replace(
            self,
            train_examples=min(self.train_examples, num_train),
            test_examples=min(self.test_examples, num_test),
        )

    def without_hyperparameters(self) -> "Recipe":
        """The same recipe with the numbers that a compiled run takes as arguments set to their defaults."""
        return replace(self, **{name: getattr(Recipe, name) for name in HYPERPARAMETERS})

    def to_dict(self) -> dict[str, Any]:
        """Fields as plain values, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Recipe":
        """The inverse of to_dict. Raises ValueError for fields that are unknown, missing, or of the wrong type."""
        if not isinstance(values, dict):
            raise ValueError(f"a recipe must be a table of its fields, but it is {values!r}")
        known = {field.name for field in fields(Recipe)}
        for problem, names in (("unknown", set(values) - known), ("missing", known - set(values))):
            if names:
                raise ValueError(
                    f"{problem} recipe field {', '.join(sorted(names))}; was it written by another version?"
                )
        return Recipe(**values)


@dataclass(frozen=True)
class ConvShape:
    """One 3x3 convolution: channels in and out, and the side of its output in pixels."""

    inputs: int
    outputs: int
    size: int


def conv_shapes(recipe: Recipe) -> list[ConvShape]:
    """The 3x3 convolutions in order. The first of each block is followed by a 2x2 pool that drops an odd row. (§1)"""
    size, inputs, shapes = IMAGE_SIZE - 1, WHITEN_WIDTH, []
    for width in recipe.widths:
        shapes.append(ConvShape(inputs, width, size))
        size //= 2
        shapes += [ConvShape(width, width, size)] * (recipe.convs_per_block - 1)
        inputs = width
    return shapes


def _kappa(momentum: float) -> float:
    # A step's gradient moves the parameters by 1 + m + m^2 + ... plus Nesterov's extra one.
    return KAPPA_BATCH * (1 + 1 / (1 - momentum))


def _between(low: float, high: float, unit: str = "") -> Range:
    return lambda value: low <= value <= high, f"from {low:g} to {high:.12g}{unit}"


def _above(low: float, high: float, unit: str = "") -> Range:
    return lambda value: low < value <= high, f"more than {low:g} and at most {high:.12g}{unit}"


def _below(low: float, high: float) -> Range:
    return lambda value: low <= value < high, f"in [{low:g}, {high:g})"


def _at_least(low: int, unit: str) -> Range:
    return lambda value: low <= value <= LARGEST_COUNT, f"of {unit} from {low} to {LARGEST_COUNT}"


# Of the fields whose type allows more than makes sense; the types are those of the annotations.
_RANGES: dict[str, Range] = {
    "epochs": _above(0, 10_000, " epochs"),
    "batch_size": _between(2, 50_000, " examples"),
    "train_examples": _at_least(2, "examples"),
    "test_examples": _at_least(1, "examples"),
    "widths": (lambda widths: all(1 <= width <= 16_384 for width in widths), "of channels from 1 to 16384"),
    "convs_per_block": _between(2, 3),
    "logit_scale": _above(0, 1000),
    "batchnorm_momentum": _below(0, 1),
    "batchnorm_epsilon": _above(0, 1),
    "whiten_examples": _at_least(1, "examples"),
    "whiten_epsilon": _between(0, 1),
    "whiten_bias_epochs": _between(0, 10_000, " epochs"),
    "learning_rate": _above(0, 1e9),
    "weight_decay": _between(0, 100),
    "momentum": _below(0, 1),
    "bias_scale": _above(0, 1e6),
    "label_smoothing": _below(0, 1),
    "schedule_start": _between(0, 1),
    "schedule_peak": _below(0, 1),
    "schedule_end": _between(0, 1),
    "lookahead_every": _between(1, 1_000_000, " steps"),
    "lookahead_decay": _between(0, 1),
    "translate": _between(0, 15, " pixels"),
    "cutout": _between(0, IMAGE_SIZE, " pixels"),
    "tta_level": _between(0, 2),
}
