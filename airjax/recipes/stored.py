"""Parts of recipes as plain values for JSON."""

from dataclasses import fields, is_dataclass
from typing import Any

from airjax.recipes.augmentation import Augmentation, Tta
from airjax.recipes.crops import Crops
from airjax.recipes.curriculum import Curriculum, Tail
from airjax.recipes.inputs import Inputs
from airjax.recipes.network import AirbenchNet, Whitening
from airjax.recipes.network_imagenet import ImageNetResNet18
from airjax.recipes.network_resnet import ResNet18
from airjax.recipes.optimizer import CrossEntropy, Lookahead, Nesterov, Piecewise, Sgd, Triangle
from airjax.recipes.optimizer_heavy_ball import HeavyBall
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.selection import ProxySelection

# The kind that a part is stored under. Names of kinds and fields are for good: files keep them.
KINDS: dict[str, type[Any]] = {
    "airbench": AirbenchNet,
    "whitening": Whitening,
    "nesterov": Nesterov,
    "triangle": Triangle,
    "lookahead": Lookahead,
    "cross-entropy": CrossEntropy,
    "augmentation": Augmentation,
    "tta": Tta,
    "inputs": Inputs,
    "resnet18": ResNet18,
    "sgd": Sgd,
    "piecewise": Piecewise,
    "muon": Muon,
    "proxy-selection": ProxySelection,
    "curriculum": Curriculum,
    "tail": Tail,
    "imagenet-resnet18": ImageNetResNet18,
    "heavy-ball": HeavyBall,
    "crops": Crops,
}
NAMES = {kind: name for name, kind in KINDS.items()}

# Fields that came later than version 0.1, which may be missing: their defaults are what the versions before them did.
ADDED = frozenset(
    {"tta_mirror", "inputs", "padding", "cutout_form", "whiten_ascending", "whiten_bias_random", "unit_head"}
    | {"drop_remainder", "selection", "proxy", "proxy_widths", "proxy_convs_per_block", "proxy_keep", "proxy_every"}
    | {"proxy_lookahead"}
    | {"activation", "batchnorm_half", "brightness", "contrast", "tta_fraction", "tta_uniform"}
    | {"renormalize_every", "renormalize_growth", "conv_weight_decay"}
    | {"final_pool", "resolution", "curriculum", "curriculum_sizes", "curriculum_epochs", "curriculum_antialias"}
    | {"ending", "tail", "tail_steps", "tail_floor", "tail_lead", "tail_every", "tail_decay"}
    | {"crop_sampling", "cutout_sampling", "antithetic"}
    | {"batchnorm_groups"}
    | {"cropping", "crops", "crop", "ramp_first", "ramp_last", "ramp_start", "ramp_end", "ramp_multiple"}
    | {"test_sizes", "test_fractions"}
)
# Of these, files keep only other values than the default: those of all other recipes, and their digests, stay the same.
KEPT_IF_CHANGED = frozenset({"batchnorm_groups"})


def to_plain(part: Any) -> dict[str, Any]:
    """Return the fields of a recipe or of a part as plain values; a part names its kind."""
    kind = {"kind": NAMES[type(part)]} if type(part) in NAMES else {}
    values = {one.name: getattr(part, one.name) for one in fields(part)}
    left_out = {one.name for one in fields(part) if one.name in KEPT_IF_CHANGED and values[one.name] == one.default}
    return kind | {name: _plain(value) for name, value in values.items() if name not in left_out}


def from_plain(kind: type[Any], values: dict[str, Any]) -> Any:
    """Return the recipe or the part of plain values. Raises ValueError for fields that are unknown or missing."""
    require_fields({one.name for one in fields(kind)}, set(values))
    return kind(**{name: _read(name, value) for name, value in values.items()})


def require_fields(known: set[str], given: set[str]) -> None:
    """Raise ValueError for fields that are unknown or missing."""
    for problem, names in (("unknown", given - known), ("missing", known - given - ADDED)):
        if names:
            raise ValueError(f"{problem} recipe field {', '.join(sorted(names))}; was it written by another version?")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_plain(value)
    return list(value) if isinstance(value, tuple) else value


def _read(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value.get("kind")
    if kind not in KINDS:
        raise ValueError(f"{name} is of the kind {kind!r}, but the kinds are {', '.join(KINDS)}")
    return from_plain(KINDS[kind], {field: inner for field, inner in value.items() if field != "kind"})
