"""Recipes: every number of a training method, with its unit, as one frozen and hashable value.

A recipe is made of parts, one of each kind. Names of fields are unique among all parts, so that a flag, an entry of a
plan and `Recipe.override` need no prefix.
"""

import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any, Literal, NamedTuple

from airjax.recipes.augmentation import Augmentation, Tta
from airjax.recipes.inputs import Inputs
from airjax.recipes.network import AirbenchNet, Network, Whitening
from airjax.recipes.optimizer import CrossEntropy, Lookahead, Nesterov, Triangle
from airjax.recipes.ranges import above, at_least, between
from airjax.recipes.stored import from_plain, require_fields, to_plain
from airjax.utils.fields import Range, check_fields, check_value

PrecisionName = Literal["auto", "float32", "bfloat16", "float16", "float64"]


_RANGES: dict[str, Range] = {
    "epochs": above(0, 10_000, " epochs"),
    "batch_size": between(2, 50_000, " examples"),
    "train_examples": at_least(2, "examples"),
    "test_examples": at_least(1, "examples"),
}


class Phase(NamedTuple):
    """Consecutive steps that one program takes."""

    start: int  # the first step, from 0
    stop: int  # the step after the last
    frozen: tuple[str, ...] = ()  # groups of parameters that do not train: "whiten_bias"


@dataclass(frozen=True)
class Recipe:
    """One training method; the defaults are those of 94. Section numbers refer to docs/recipes.md."""

    epochs: float = 9.9
    """Length of training, in passes over the training examples. May be fractional."""
    batch_size: int = 1024
    """Examples per optimizer step."""
    train_examples: int = 50_000
    """Training examples used: the first so many of the data set."""
    test_examples: int = 10_000
    """Test examples evaluated: the first so many of the data set."""
    network: Network = AirbenchNet()
    optimizer: Nesterov = Nesterov()
    schedule: Triangle = Triangle()
    averaging: Lookahead | None = Lookahead()
    loss: CrossEntropy = CrossEntropy()
    augmentation: Augmentation = Augmentation()
    evaluation: Tta = Tta()
    precision: PrecisionName = "auto"
    """Arithmetic: float32 on a CPU and bfloat16 with float32 master weights elsewhere (auto), or the one named."""
    inputs: Inputs = Inputs()

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        self.network.require_inputs(self.inputs)
        self.augmentation.require_size(self.inputs.image_size)
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
        epochs = self.network.whiten_bias_epochs
        if not self.network.whiten_bias or epochs is None:
            return self.total_steps
        return min(self.total_steps, round(epochs * self.steps_per_epoch))

    def phases(self) -> tuple[Phase, ...]:
        """Cut the run's steps where what trains changes."""
        cut, end = self.freeze_step, self.total_steps
        both = Phase(0, cut), Phase(cut, end, ("whiten_bias",))
        return tuple(phase for phase in both if phase.start < phase.stop)

    @property
    def sgd_learning_rate(self) -> float:
        """Learning rate for a loss that is summed over the batch (§4.2)."""
        return self.optimizer.sgd_learning_rate

    @property
    def sgd_weight_decay(self) -> float:
        """Fraction of each parameter removed per step at learning-rate factor 1, before momentum (§4.2)."""
        return self.optimizer.sgd_weight_decay(self.batch_size)

    @property
    def num_params(self) -> int:
        """Parameters of the network, with the whitening filters and the BatchNorm biases."""
        return self.network.num_params(self.inputs)

    @property
    def forward_macs(self) -> int:
        """Multiply-accumulates of one image's forward pass through the network as defined."""
        return self.network.forward_macs(self.inputs)

    @property
    def flops(self) -> float:
        """Floating-point operations of a run: three forward costs per training image, plus the test views."""
        views = self.evaluation.num_views * self.test_examples
        return 2.0 * self.forward_macs * (3 * self.total_steps * self.batch_size + views)

    def fit_to(
        self, num_train: int, num_test: int, inputs: Inputs | None = None, *, symmetric: bool = True
    ) -> "Recipe":
        """Return the same recipe for a data set: its inputs, and no more examples than it has.

        Where a mirrored image is of another class (not symmetric), nothing is mirrored.
        """
        fitted = replace(
            self,
            train_examples=min(self.train_examples, num_train),
            test_examples=min(self.test_examples, num_test),
            inputs=self.inputs if inputs is None else inputs,
        )
        return fitted if symmetric else fitted.override(flip="none", tta_mirror=False)

    def override(self, **changes: Any) -> "Recipe":
        """Return the recipe with other values of some fields, by their own names, whichever part they are in.

        whiten=False and lookahead=False leave those parts out, True puts them in. A whole part is replaced by its name.
        Raises ValueError for a field that there is not, a value that it cannot have, or a part that is left out.
        """
        unknown = sorted(name for name in changes if name not in FIELDS and name not in _PARTS)
        if unknown:
            known = ", ".join(sorted(FIELDS))
            raise ValueError(f"unknown recipe field {', '.join(unknown)}; the fields are {known}")
        recipe = replace(self, **{name: value for name, value in changes.items() if name in _PARTS})
        for name in set(SWITCHES) & set(changes):  # first which parts there are
            recipe = _with_part(recipe, name, changes[name])
        by_path: dict[tuple[str, ...], dict[str, Any]] = {}
        for name, value in changes.items():
            if name in FIELDS and name not in SWITCHES:
                by_path.setdefault(FIELDS[name].path, {})[name] = value
        for path, values in sorted(by_path.items(), reverse=True):  # parts of a part before the part itself
            if _part_of(recipe, path) is not None:
                recipe = _replaced(recipe, path, values)
            elif _switch_of(path) not in changes:
                raise ValueError(f"{next(iter(values)).replace('_', '-')} is set, but the recipe has no {path[-1]}")
        return recipe

    def value_of(self, name: str) -> Any:
        """Return the value of a field by its own name; None where its part is left out."""
        if name in SWITCHES:
            return _part_of(self, SWITCHES[name].path) is not None
        part = _part_of(self, FIELDS[name].path)
        return None if part is None else getattr(part, name)

    def flat(self) -> dict[str, Any]:
        """Return every field by its own name: what flags and plans set."""
        return {name: self.value_of(name) for name in FIELDS}

    def split(self) -> tuple["Recipe", dict[str, float]]:
        """Return what a program is compiled for, and the numbers that it takes as arguments."""
        traced = {name: self.value_of(name) for name in TRACED_FIELDS}
        return self.override(**{name: FIELDS[name].default for name in TRACED_FIELDS}), traced

    def to_dict(self) -> dict[str, Any]:
        """Return the parts as plain values, for JSON; each with its kind."""
        return to_plain(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Recipe":
        """Invert to_dict; the flat table of version 0.1 loads, too.

        Raises ValueError for fields that are unknown, missing, or of the wrong type.
        """
        if not isinstance(values, dict):
            raise ValueError(f"a recipe must be a table of its fields, but it is {values!r}")
        if "network" in values:
            return from_plain(Recipe, values)
        require_fields(set(FIELDS), set(values))
        return Recipe().override(**values)


class FieldOf(NamedTuple):
    """Where a field of a recipe is."""

    path: tuple[str, ...]  # of the part that has it; () is the recipe itself
    type: Any  # as annotated
    default: Any


def _fields_of(kind: type[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, FieldOf]]:
    for one in fields(kind):
        default = one.default
        if is_dataclass(default):
            yield from _fields_of(type(default), (*path, one.name))
        else:
            assert default is not MISSING
            yield one.name, FieldOf(path, one.type, default)


def has_part(recipe: Recipe, name: str) -> bool:
    """Whether the part of a field is there; that of a switch always is."""
    return _part_of(recipe, FIELDS[name].path) is not None


def part_classes() -> list[type[Any]]:
    """List the classes of the parts that set fields, those in other parts included."""
    paths = dict.fromkeys(place.path for place in FIELDS.values() if place.path)
    found = [type(_part_of(Recipe(), path)) for path in paths]
    return [*found, *(switch.part for switch in SWITCHES.values() if switch.part not in found)]


def _switch_of(path: tuple[str, ...]) -> str:
    return next(name for name, switch in SWITCHES.items() if switch.path == path)


def _part_of(recipe: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        recipe = None if recipe is None else getattr(recipe, name)
    return recipe


def _replaced(part: Any, path: tuple[str, ...], values: dict[str, Any]) -> Any:
    if not path:
        return replace(part, **values)
    return replace(part, **{path[0]: _replaced(getattr(part, path[0]), path[1:], values)})


def _with_part(recipe: Recipe, switch: str, wanted: Any) -> Recipe:
    wanted = check_value(switch, wanted, bool)
    path, part = SWITCHES[switch]
    if wanted == (_part_of(recipe, path) is not None):
        return recipe
    return _replaced(recipe, path[:-1], {path[-1]: part() if wanted else None})


class Switch(NamedTuple):
    """A field that says whether a part is there."""

    path: tuple[str, ...]
    part: type[Any]


SWITCHES = {"whiten": Switch(("network", "whitening"), Whitening), "lookahead": Switch(("averaging",), Lookahead)}
_PARTS = {one.name for one in fields(Recipe) if is_dataclass(one.default)}
_SWITCH_FIELDS = {name: FieldOf(switch.path[:-1], bool, True) for name, switch in SWITCHES.items()}
# Every field by its own name. Those of the inputs follow from the data, and nobody sets them.
FIELDS = {
    name: found for name, found in (_SWITCH_FIELDS | dict(_fields_of(Recipe))).items() if found.path != ("inputs",)
}
TRACED_FIELDS = tuple(
    one.name
    for part in fields(Recipe)
    if is_dataclass(part.default)
    for one in fields(part.default)
    if one.metadata.get("traced")
)
