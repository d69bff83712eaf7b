"""Recipes: every number of a training method, with its unit, as one frozen and hashable value.

A recipe is made of parts, one of each kind. Names of fields are unique among all parts, so that a flag, an entry of a
plan and `Recipe.override` need no prefix (`airjax.recipes.places`).
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from airjax.recipes.augmentation import Augmentation, Tta
from airjax.recipes.crops import Crops
from airjax.recipes.curriculum import Curriculum, Tail
from airjax.recipes.inputs import Inputs
from airjax.recipes.network import AirbenchNet, Network
from airjax.recipes.optimizer import CrossEntropy, Lookahead, Nesterov, Optimizer, Schedule, Triangle
from airjax.recipes.places import SWITCHES, FieldOf, fields_of, iterate_parts, kinds_with, part_of, replaced
from airjax.recipes.ranges import above, at_least, between
from airjax.recipes.selection import ProxySelection
from airjax.recipes.stored import NAMES, from_plain, require_fields, to_plain
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
    image_size: int | None = None  # height and width of its images, in pixels; None: the data's own


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
    optimizer: Optimizer = Nesterov()
    schedule: Schedule = Triangle()
    averaging: Lookahead | None = Lookahead()
    loss: CrossEntropy = CrossEntropy()
    augmentation: Augmentation = Augmentation()
    evaluation: Tta = Tta()
    precision: PrecisionName = "auto"
    """Arithmetic: float32 on a CPU and bfloat16 with float32 master weights elsewhere (auto), or the one named. Where
    it pays, airjax train takes bfloat16 on a CPU by itself, and says so."""
    inputs: Inputs = Inputs()
    selection: ProxySelection | None = None
    resolution: Curriculum | None = None
    ending: Tail | None = None
    cropping: Crops | None = None

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        self.network.require_inputs(self.inputs)
        if self.selection is not None:
            self.selection.network_for(self.network).require_inputs(self.inputs)
        self.augmentation.require_size(self.inputs.image_size)
        if self.steps_per_epoch < 1:
            raise ValueError(
                f"batch-size is {self.batch_size}, but there are only {self.train_examples} training examples; "
                "make batch-size smaller"
            )
        if self.resolution is not None:
            self.resolution.require_size(self.inputs.image_size)
            for size in self.resolution.curriculum_sizes:
                self.network.require_inputs(self.inputs_at(size))
        self._require_groups()
        if self.ending is not None and self.schedule_steps < 1:
            raise ValueError(
                f"tail-steps is {self.ending.tail_steps}, but the training has only {self.total_steps} steps; "
                "make tail-steps smaller"
            )

    def _require_groups(self) -> None:
        groups = self.network.batchnorm_groups
        for name, count in (("batch-size", self.batch_size), ("what proxy-keep leaves of a batch", self.step_examples)):
            if groups > 1 and (count % groups or count < 2 * groups):
                raise ValueError(
                    f"batchnorm-groups is {groups}, but {name} is {count} examples, which is not that many equal "
                    "groups of two or more; choose another number of groups, or another batch-size"
                )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass. With drop_remainder off, the next pass begins with what is left."""
        return self.train_examples // self.batch_size

    @property
    def step_examples(self) -> int:
        """Examples of a batch that the network trains on: all of them, or those that are selected (§4.8)."""
        return self.batch_size if self.selection is None else self.selection.num_kept(self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of a run."""
        # Rounded first: 50 steps of 1.1 epochs are 55.000000000000007 in float64.
        return max(1, math.ceil(round(self.steps_per_epoch * self.epochs, 6)))

    @property
    def schedule_steps(self) -> int:
        """Steps over which the learning rate's schedule extends: all but those of the tail."""
        return self.total_steps - (0 if self.ending is None else self.ending.tail_steps)

    @property
    def freeze_step(self) -> int:
        """First step (from 0) at which the first convolution's bias no longer trains; total_steps if it always does."""
        epochs = self.network.freeze_epochs
        return self.total_steps if epochs is None else min(self.total_steps, round(epochs * self.steps_per_epoch))

    def phases(self) -> tuple[Phase, ...]:
        """Cut the run's steps where what trains changes, or the size of the images."""
        cut, end = self.freeze_step, self.total_steps
        sizes = self._first_steps()
        bounds = sorted({0, cut, end, *(min(first, end) for first, _ in sizes)})
        found: list[Phase] = []
        for start, stop in itertools.pairwise(bounds):
            size = [size for first, size in sizes if first <= start][-1]
            frozen = ("whiten_bias",) if start >= cut else ()
            phase = Phase(start, stop, frozen, None if size == self.inputs.image_size else size)
            if found and found[-1][2:] == phase[2:]:  # a size that is the data's own is no other one
                phase = phase._replace(start=found.pop().start)
            found.append(phase)
        return tuple(found)

    def _first_steps(self) -> tuple[tuple[int, int | None], ...]:
        # The first step of each size of images.
        if self.cropping is not None:
            return self.cropping.first_steps(self.steps_per_epoch, self.epochs)
        return ((0, None),) if self.resolution is None else self.resolution.first_steps(self.steps_per_epoch)

    def inputs_at(self, image_size: int | None) -> Inputs:
        """Return the inputs with images of that size; None is the data's own."""
        return self.inputs if image_size is None else replace(self.inputs, image_size=image_size)

    @property
    def sgd_learning_rate(self) -> float:
        """Learning rate as the optimizer applies it: of the summed loss (§4.2), with `Sgd` of the mean.

        With `Muon` it is that of the convolutions.
        """
        return self.optimizer.sgd_learning_rate

    @property
    def sgd_weight_decay(self) -> float:
        """Fraction of each parameter removed per step at learning-rate factor 1, before momentum (§4.2).

        With `Sgd` it is the multiple of each parameter that is added to its gradient; with `Muon` kernels do not decay.
        """
        return self.optimizer.sgd_weight_decay(self.batch_size)

    @property
    def num_params(self) -> int:
        """Parameters of the network, with whitening filters and with what its BatchNorms have."""
        return self.network.num_params(self.inputs)

    @property
    def forward_macs(self) -> int:
        """Multiply-accumulates of one image's forward pass through the network as defined."""
        return self.network.forward_macs(self.inputs)

    @property
    def flops(self) -> float:
        """Floating-point operations of a run: those of all steps, and the test views."""
        passes = self.evaluation.passes_per_image * self.test_examples
        sizes = (None,) if self.cropping is None else self.cropping.test_sizes
        return self.training_flops + 2.0 * sum(map(self.macs_at, sizes)) * passes

    @property
    def training_flops(self) -> float:
        """Floating-point operations of all steps: three forward costs per image trained on, and the proxy's."""
        return sum((phase.stop - phase.start) * self.step_flops(phase.image_size) for phase in self.phases())

    def step_flops(self, image_size: int | None = None) -> float:
        """Return a training step's floating-point operations, with images of that size; None is the data's own.

        A proxy's are those of its steps on average.
        """
        main, steps = 6.0 * self.macs_at(image_size) * self.step_examples, self.total_steps
        if self.selection is None:
            return main
        return main + self.selection.flops(self.network, self.inputs_at(image_size), self.batch_size, steps) / steps

    def macs_at(self, image_size: int | None) -> int:
        """Multiply-accumulates of the forward pass of one image of that size; None is the data's own."""
        return self.network.forward_macs(self.inputs_at(image_size))

    def require_crops(self) -> None:
        """Raise ValueError unless the recipe can learn from a tree of images of any size."""
        if self.cropping is None:
            raise ValueError(
                "this recipe learns from a data set in memory, not from a tree of images; choose one with crops, such "
                "as imagenet-resnet18-16"
            )
        others = {"curriculum": self.resolution, "proxy": self.selection, "whiten": self.network.examples_at_start}
        self.cropping.require_parts(self.augmentation, self.evaluation, others)
        if self.network.freeze_epochs is not None:
            raise ValueError(
                "whiten-bias-epochs is set, but not for images of a tree, on which nothing is frozen; set it to None"
            )

    def require_in_memory(self) -> None:
        """Raise ValueError for a recipe that learns from a tree of images."""
        if self.cropping is not None:
            raise ValueError(
                "this recipe has crops, so it learns from a tree of images (airjax train --data imagenet --data-dir "
                "TREE), not from a data set in memory; choose a recipe without"
            )

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

        whiten=False, lookahead=False and proxy=False leave those parts out, True puts them in. A whole part is replaced
        by its name.
        Raises ValueError for a field that there is not, a value that it cannot have, or a part that is left out.
        """
        parts = {name: changes.pop(name) for name, _ in iterate_parts(self) if name in changes}
        recipe = replace(self, **parts)
        places = fields_of(recipe)
        for name in sorted(set(changes) - set(places)):
            raise ValueError(describe_unknown(recipe, name))
        for name in set(SWITCHES) & set(changes):  # first which parts there are
            recipe = _with_part(recipe, name, changes[name])
        by_path: dict[tuple[str, ...], dict[str, Any]] = {}
        for name, value in changes.items():
            if name not in SWITCHES:
                by_path.setdefault(places[name].path, {})[name] = value
        own: dict[str, Any] = {}  # replaced all at once: a recipe checks what it has in the end
        for path, values in sorted(by_path.items(), reverse=True):  # parts of a part before the part itself
            if not path:
                own |= values
            elif part_of(recipe, path) is not None:
                own[path[0]] = replaced(own.get(path[0], getattr(recipe, path[0])), path[1:], values)
            elif _switch_of(path) not in changes:
                raise ValueError(f"{next(iter(values)).replace('_', '-')} is set, but the recipe has no {path[-1]}")
        return replace(recipe, **own)

    def value_of(self, name: str) -> Any:
        """Return the value of a field by its own name; None where its part is left out, or of another kind."""
        place = fields_of(self).get(name)
        return None if place is None else self._value_at(name, place)

    def flat(self) -> dict[str, Any]:
        """Return every field by its own name: what flags and plans set."""
        return {name: self._value_at(name, place) for name, place in fields_of(self).items()}

    def split(self) -> tuple["Recipe", dict[str, float]]:
        """Return what a program is compiled for, and the numbers that it takes as arguments."""
        traced = {name: place for name, place in fields_of(self).items() if place.traced}
        static = self.override(**{name: place.default for name, place in traced.items()})
        return static, {name: self._value_at(name, place) for name, place in traced.items()}

    def _value_at(self, name: str, place: FieldOf) -> Any:
        if name in SWITCHES:
            return part_of(self, SWITCHES[name].path) is not None
        part = part_of(self, place.path)
        return None if part is None else getattr(part, name)

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
        require_fields(set(fields_of(Recipe())), set(values))
        return Recipe().override(**values)


def has_part(recipe: Recipe, name: str) -> bool:
    """Say whether the part of a field is there; that of a switch always is."""
    return part_of(recipe, fields_of(recipe)[name].path) is not None


def kind_of(part: Any) -> str:
    """Return the name that a kind of part is stored under, such as "airbench"; "none" for a part that is left out."""
    return "none" if part is None else NAMES[type(part)]


def describe_unknown(recipe: Recipe, name: str) -> str:
    """Say what is wrong with the name of a field that a recipe does not have, and what to do."""
    owners = kinds_with(Recipe, name)
    if not owners:
        return f"unknown recipe field {name}; the fields are {', '.join(sorted(fields_of(recipe)))}"
    part, kinds = next(iter(owners.items()))
    kind = kind_of(getattr(recipe, part))
    return (
        f"{name.replace('_', '-')} is set, but the recipe's {part} is {kind}, which has no such field; "
        f"leave it out, or choose a recipe whose {part} is {' or '.join(kinds)}"
    )


def _switch_of(path: tuple[str, ...]) -> str:
    return next(name for name, switch in SWITCHES.items() if switch.path == path)


def _with_part(recipe: Recipe, switch: str, wanted: Any) -> Recipe:
    wanted = check_value(switch, wanted, bool)
    path, part = SWITCHES[switch].path, SWITCHES[switch].part
    if wanted == (part_of(recipe, path) is not None):
        return recipe
    return replaced(recipe, path[:-1], {path[-1]: part() if wanted else None})
