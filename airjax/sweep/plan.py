"""A sweep's plan: settings x seeds x subsets, read from a TOML file and checked before anything trains.

recipe = "mini"                  # what all networks have in common
data = "cifar10"                 # or a list: ["cifar10", "synthetic"]; or the path of your own (docs/data.md)
seeds = 10                       # 0 to 9; or a list of seeds
# validation = 5000              # test on so many of the training examples instead of the test split
# image_size = 32                # pixels to which images of your own are scaled
# labels = "cifar10n-worst"      # other labels of CIFAR-10's images (docs/data.md)

[set]                            # the same for all: fields of airjax.recipes.recipe.Recipe
epochs = 2.0

[grid]                           # every combination; or [[cases]], one table for each setting
learning_rate = [8.0, 11.5]
flip = ["random", "alternating"]

[subsets]                        # each network sees some of the training examples
count = 2                        # how many subsets; every seed trains on every one
fraction = 0.5                   # of the training examples, drawn without replacement
seed = 0

[keep]                           # besides the class of every test image
logits = false                   # float16
networks = false
plain_accuracy = false           # without test-time augmentation: a second evaluation
"""

import codecs
import dataclasses
import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from airjax.data import DataError
from airjax.data.labels import LABEL_SETS
from airjax.data.load import is_own, require_place
from airjax.data.registry import ALIASES, REGISTRY
from airjax.recipes.places import fields_of, iterate_parts
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe, has_part, kind_of
from airjax.recipes.stored import ADDED
from airjax.training.backend import resolve_precision
from airjax.utils.fields import Range, allows_none, check_fields
from airjax.utils.seeds import LARGEST_SEED, check_seed

TABLES = {"recipe", "data", "validation", "image_size", "labels", "seeds", "set", "grid", "cases", "subsets", "keep"}
SAME_NUMBERS_SINCE = "0.1.0"  # the first version whose seeds lead to the networks of this one; ids depend on it
RECORD_BYTES = 400  # a line of runs.jsonl; more with more fields in the plan
MOST_SEEDS = LARGEST_SEED + 1
# Notepad and PowerShell begin files with one of these.
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class PlanError(ValueError):
    """A plan that cannot be trained; the message names the entry and the remedy."""


@dataclass(frozen=True)
class Subsets:
    """Random subsets of the training examples."""

    count: int
    fraction: float  # of the recipe's training examples
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, _SUBSET_RANGES, "subsets.")

    def indices(self, number: int, num_examples: int) -> np.ndarray:
        """Subset number of so many examples: [n] int32, ascending, without repetition."""
        drawn = np.random.default_rng([self.seed, number]).permutation(num_examples)
        return np.sort(drawn[: self.size(num_examples)]).astype(np.int32)

    def size(self, num_examples: int) -> int:
        """Examples in each subset."""
        return round(self.fraction * num_examples)


_SUBSET_RANGES: dict[str, Range] = {
    "count": (lambda count: count >= 1, "from 1"),
    "fraction": (lambda fraction: 0 < fraction <= 1, "more than 0 and at most 1"),
    "seed": (lambda seed: 0 <= seed <= LARGEST_SEED, f"from 0 to {LARGEST_SEED}"),
}


@dataclass(frozen=True)
class Keep:
    """What a sweep keeps of every network besides the class of every test image."""

    logits: bool = False
    networks: bool = False
    plain_accuracy: bool = False

    def __post_init__(self) -> None:
        check_fields(self, prefix="keep.")


def subset_of(plan: dict[str, Any], row: dict[str, Any]) -> np.ndarray:
    """Return the training examples [n] int32 that a network of a sweep saw, from `airjax.sweep.store.read_plan` and its
    row.

    Raises ValueError for a sweep without subsets.
    """
    if plan["subsets"] is None:
        raise ValueError("the plan has no subsets: every network saw the first training examples")
    return Subsets(**plan["subsets"]).indices(row["subset"], plan["pools"][row["setting"]])


@dataclass(frozen=True)
class Setting:
    """What the networks of one cell of the plan have in common, but for seed and subset."""

    changes: dict[str, Any]  # fields of the recipe that the plan sets, as the recipe has them
    recipe: Recipe  # with its precision resolved; its train_examples are those of a subset, where there are subsets
    pool: int  # training examples that subsets are drawn from
    data: str  # a name in the registry, or a path

    @property
    def described(self) -> dict[str, Any]:
        """Return what sets it apart from the other settings."""
        return self.changes | {"data": self.data}


class Run(NamedTuple):
    """One network of the plan."""

    id: str
    setting: int  # index into the plan's settings
    seed: int
    subset: int | None


@dataclass(frozen=True)
class Plan:
    """A checked plan."""

    base: str  # name of the recipe
    settings: tuple[Setting, ...]
    seeds: Sequence[int]  # a range where the plan says how many
    subsets: Subsets | None
    keep: Keep
    validation: int = 0  # training examples that take the place of the test split
    image_size: int | None = None  # pixels to which images of one's own are scaled
    labels: str | None = None  # of CIFAR-10's images, in the place of its own (`airjax.data.labels`)

    @property
    def num_runs(self) -> int:
        """Networks to train."""
        return len(self.settings) * len(self.seeds) * (self.subsets.count if self.subsets else 1)

    def disk_bytes(self, classes: Mapping[str, int] | None = None) -> int:
        """Return what the results take on disk: a record for each network, and its arrays.

        classes: how many each data set has; those that are not there have CIFAR-10's ten.
        """
        epochs = max(math.ceil(setting.recipe.epochs) for setting in self.settings)
        total = 0
        for setting in self.settings:
            inputs = setting.recipe.inputs
            inputs = replace(inputs, num_classes=(classes or {}).get(setting.data, inputs.num_classes))
            logits = 2 * inputs.num_classes if self.keep.logits else 0
            params = setting.recipe.network.num_params(inputs) if self.keep.networks else 0
            total += RECORD_BYTES + setting.recipe.test_examples * (1 + logits) + 8 * epochs + 4 * params
        return total * (self.num_runs // len(self.settings))

    def runs(self, fingerprints: Mapping[str, str], version: str) -> Iterator[Run]:
        """Return all networks, by setting; their ids follow from the data sets' fingerprints and the version."""
        names = [self.setting_id(setting, fingerprints[setting.data], version) for setting in self.settings]
        return itertools.chain.from_iterable(self.runs_of(index, name) for index, name in enumerate(names))

    def runs_of(self, index: int, name: str) -> Iterator[Run]:
        """Return the networks of one setting, whose id is a name."""
        numbers = range(self.subsets.count) if self.subsets else (None,)
        for seed in self.seeds:
            for subset in numbers:
                yield Run(f"{name}-{seed}" if subset is None else f"{name}-{seed}-{subset}", index, seed, subset)

    def setting_id(self, setting: Setting, fingerprint: str, version: str, recipe: dict[str, Any] | None = None) -> str:
        """Digest of everything that determines a setting's networks; recipe is its own as another version wrote it."""
        subsets = dataclasses.asdict(self.subsets) | {"pool": setting.pool} if self.subsets else None
        if subsets:
            del subsets["count"]  # more subsets leave the first ones what they are
        recipe = recipe or identity_of(setting.recipe)
        parts = {"recipe": recipe, "data": fingerprint, "subsets": subsets, "version": version}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def identity_of(recipe: Recipe) -> dict[str, Any]:
    """Return what an id says of a recipe: the flat table of version 0.1, so that ids stay, and what is new beside it.

    Of a part that is left out the fields have their defaults. The kinds of parts are new where they are not the first.
    """
    places = fields_of(recipe)
    flat = {name: value if has_part(recipe, name) else places[name].default for name, value in recipe.flat().items()}
    first = dict(iterate_parts(Recipe()))
    kinds = {name: kind_of(part) for name, part in iterate_parts(recipe) if part is not None}
    new = {name: kind for name, kind in kinds.items() if kind != kind_of(first[name])}
    return new | {name: value for name, value in flat.items() if name not in ADDED or value != places[name].default}


def load_plan(file: Path, platform: str | None = None) -> Plan:
    """Read and check a plan, to be trained on a platform; None is this process's. Raises PlanError."""
    try:
        content = file.read_bytes()
        encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
        table = tomllib.loads(content.decode(encoding))
    except OSError as error:
        raise PlanError(f"cannot read the plan {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{file} is not text in UTF-8 ({error}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{file} is not TOML: {error}") from error
    return make_plan(table, platform)


def make_plan(content: dict[str, Any], platform: str | None = None) -> Plan:
    """Make a plan from the content of its file, with `auto` precision resolved for a platform. Raises PlanError."""
    unknown = set(content) - TABLES
    if unknown:
        raise PlanError(f"unknown entry {', '.join(sorted(unknown))}; a plan has {', '.join(sorted(TABLES))}")
    base, names, common = (
        _base(content.get("recipe")),
        _data_names(content.get("data", "cifar10")),
        _table(content, "set"),
    )
    subsets = _checked(Subsets, _table(content, "subsets"), "subsets") if "subsets" in content else None
    keep = _checked(Keep, _table(content, "keep"), "keep")
    settings = [
        _setting(base, common | changes, subsets, name, platform) for name in names for changes in _changes(content)
    ]
    if len({(setting.recipe, setting.data) for setting in settings}) < len(settings):
        raise PlanError("two settings of the plan are the same; remove one of them")
    if len({setting.recipe.test_examples for setting in settings}) > 1:
        raise PlanError(
            "the settings differ in test_examples; set one number, because they are compared image by image"
        )
    counts = {name: _count(name, content.get(name)) for name in ("validation", "image_size")}
    if counts["image_size"] is not None and not all(map(is_own, names)):
        raise PlanError("image_size is only for images of your own, whose path data has to be; remove it")
    seeds = _seeds(content.get("seeds"))
    labels = _labels(content.get("labels"), names)
    return Plan(base, tuple(settings), seeds, subsets, keep, counts["validation"] or 0, counts["image_size"], labels)


def _base(value: Any) -> str:
    if value is None:
        raise PlanError('the plan names no recipe; begin it with a line like recipe = "mini"')
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # recipe = 94
    if not isinstance(value, str):
        raise PlanError(f'recipe is {value!r}, but it must be a name in quotes, like recipe = "94"')
    return value


def _data_names(value: Any) -> list[str]:
    # Names of the registry come first, in its order.
    names = [value] if isinstance(value, str) else value
    known = [*REGISTRY, *ALIASES]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name != "auto" for name in names):
        raise PlanError(f"data is {value!r}, but it must be one or more of {', '.join(REGISTRY)}, or paths of your own")
    for name in filter(is_own, names):
        try:
            require_place(name)
        except DataError as error:
            raise PlanError(str(error)) from error
    if len({ALIASES.get(name, name) for name in names}) < len(set(names)):
        raise PlanError(f"data is {value!r}, of which two are the same; remove one of them")
    return sorted(dict.fromkeys(names), key=lambda name: known.index(name) if name in known else len(known))


def _labels(value: Any, names: list[str]) -> str | None:
    if value is not None and value not in LABEL_SETS:
        raise PlanError(f"labels is {value!r}, but it must be one of {', '.join(LABEL_SETS)}")
    if value is not None and names != ["cifar10"]:
        raise PlanError(f'labels is {value!r}, which are labels of CIFAR-10: data must be "cifar10" alone')
    return value


def _count(name: str, value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise PlanError(f"{name} is {value!r}, but it must be a whole number from 1")
    return value


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise PlanError(f"{name} is {table!r}, but it must be a table: a line [{name}], then one line for each field")
    return table


def _checked(kind: type[Any], table: dict[str, Any], name: str) -> Any:
    fields = dataclasses.fields(kind)
    known = [field.name for field in fields]
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    for problem, found in (("unknown", set(table) - set(known)), ("missing", set(required) - set(table))):
        if found:
            named = ", ".join(f"{name}.{field}" for field in sorted(found))
            raise PlanError(f"{problem} entry {named}; [{name}] has {', '.join(known)}")
    try:
        return kind(**table)
    except ValueError as error:
        raise PlanError(str(error)) from error


def _changes(content: dict[str, Any]) -> list[dict[str, Any]]:
    if "grid" in content and "cases" in content:
        raise PlanError("a plan has either a grid or cases, not both")
    if "cases" in content:
        cases = content["cases"]
        if not isinstance(cases, list) or not cases or not all(isinstance(case, dict) for case in cases):
            raise PlanError(
                f"cases is {cases!r}, but it must be tables: a line [[cases]], then one line for each field"
            )
        return cases
    grid = _table(content, "grid")
    for field, values in grid.items():
        if not isinstance(values, list) or not values:
            raise PlanError(f"grid.{field} is {values!r}, but it must be a list of values")
    columns = [[(field, value) for value in values] for field, values in grid.items()]
    return [dict(combination) for combination in itertools.product(*columns)]


def _setting(base: str, changes: dict[str, Any], subsets: Subsets | None, data: str, platform: str | None) -> Setting:
    try:
        recipe = get_recipe(base)
        # TOML has no None.
        optional = {name for name, place in fields_of(recipe).items() if allows_none(place.type)}
        values = {name: None if value == "none" and name in optional else value for name, value in changes.items()}
        recipe = recipe.override(**values)
        changes = {name: recipe.value_of(name) for name in changes}
        recipe = resolve_precision(recipe, platform)
        pool = recipe.train_examples
        if subsets is not None:
            recipe = dataclasses.replace(recipe, train_examples=subsets.size(pool))
    except ValueError as error:
        raise PlanError(f"{error} (in {_describe(changes)})") from error
    return Setting(changes, recipe, pool, data)


def _seeds(value: Any) -> Sequence[int]:
    if isinstance(value, list) and value:
        try:
            seeds = [check_seed(seed) for seed in value]
        except ValueError as error:
            raise PlanError(f"{error} (in seeds)") from error
        if len(set(seeds)) < len(seeds):
            raise PlanError("seeds has the same seed twice")
        return tuple(seeds)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_SEEDS:
        raise PlanError(f"seeds is {value!r}, but it must be how many, from 1 to {MOST_SEEDS}, or a list of seeds")
    return range(value)


def title(described: dict[str, Any]) -> str:
    """Return a setting in a few words."""
    return ", ".join(f"{name} {'none' if value is None else value}" for name, value in described.items())


def _describe(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in changes.items()) or "the recipe itself"
