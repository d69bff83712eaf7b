"""A sweep's plan: settings x seeds x subsets, read from a TOML file and checked before anything trains.

recipe = "mini"                  # what all networks have in common
data = "cifar10"                 # or a list: ["cifar10", "builtin"]
seeds = 20                       # 0 to 19; or a list of seeds

[set]                            # the same for all: fields of airjax.recipe.Recipe
epochs = 2.0

[grid]                           # every combination; or [[cases]], one table for each setting
learning_rate = [8.0, 11.5]
flip = ["random", "alternating"]

[subsets]                        # each network sees some of the training examples
count = 500                      # how many subsets; every seed trains on every one
fraction = 0.5                   # of the training examples, drawn without replacement
seed = 0

[keep]                           # besides the class of every test image
logits = false                   # float16
networks = false
"""

import dataclasses
import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from airjax.data import DataName
from airjax.precision import resolve_precision
from airjax.recipe import Recipe, get_recipe

DATA_NAMES: tuple[DataName, ...] = ("cifar10", "builtin")
TABLES = {"recipe", "data", "seeds", "set", "grid", "cases", "subsets", "keep"}
RECORD_BYTES = 400  # a line of runs.jsonl; more with more fields in the plan
LARGEST_SEED = 2**32 - 1


class PlanError(ValueError):
    """A plan that cannot be trained; the message names the entry and the remedy."""


@dataclass(frozen=True)
class Subsets:
    """Random subsets of the training examples."""

    count: int
    fraction: float  # of the recipe's training examples
    seed: int = 0

    def indices(self, number: int, num_examples: int) -> np.ndarray:
        """Subset number of so many examples: [n] int32, ascending, without repetition."""
        drawn = np.random.default_rng([self.seed, number]).permutation(num_examples)
        return np.sort(drawn[: self.size(num_examples)]).astype(np.int32)

    def size(self, num_examples: int) -> int:
        """Examples in each subset."""
        return round(self.fraction * num_examples)


def subset_of(plan: dict[str, Any], row: dict[str, Any]) -> np.ndarray:
    """The training examples [n] int32 that a network of a sweep saw, from `airjax.results.read_plan` and its row.

    Raises ValueError for a sweep without subsets.
    """
    if plan["subsets"] is None:
        raise ValueError("the plan has no subsets: every network saw the first training examples")
    return Subsets(**plan["subsets"]).indices(row["subset"], plan["pools"][row["setting"]])


@dataclass(frozen=True)
class Setting:
    """What the networks of one cell of the plan have in common, but for seed and subset."""

    changes: dict[str, Any]  # fields of the recipe that the plan sets
    recipe: Recipe  # with its precision resolved; its train_examples are those of a subset, where there are subsets
    pool: int  # training examples that subsets are drawn from
    data: DataName

    @property
    def described(self) -> dict[str, Any]:
        """What sets it apart from the other settings."""
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
    seeds: tuple[int, ...]
    subsets: Subsets | None
    keep_logits: bool
    keep_networks: bool

    @property
    def num_runs(self) -> int:
        """Networks to train."""
        return len(self.settings) * len(self.seeds) * (self.subsets.count if self.subsets else 1)

    @property
    def disk_bytes(self) -> int:
        """What the results take on disk: a record for each network, and its arrays."""
        epochs = max(math.ceil(setting.recipe.epochs) for setting in self.settings)
        total = 0
        for recipe in (setting.recipe for setting in self.settings):
            arrays = recipe.test_examples * (21 if self.keep_logits else 1) + 8 * epochs
            total += RECORD_BYTES + arrays + (4 * recipe.num_params if self.keep_networks else 0)
        return total * (self.num_runs // len(self.settings))

    def runs(self, fingerprints: dict[DataName, str], version: str) -> Iterator[Run]:
        """All networks, by setting; fingerprints are those of the data sets by name. Ids depend on nothing else."""
        numbers = range(self.subsets.count) if self.subsets else (None,)
        for index, setting in enumerate(self.settings):
            name = self.setting_id(setting, fingerprints[setting.data], version)
            for seed, subset in itertools.product(self.seeds, numbers):
                yield Run(f"{name}-{seed}" if subset is None else f"{name}-{seed}-{subset}", index, seed, subset)

    def setting_id(self, setting: Setting, fingerprint: str, version: str) -> str:
        """Digest of everything that determines a setting's networks."""
        subsets = dataclasses.asdict(self.subsets) | {"pool": setting.pool} if self.subsets else None
        if subsets:
            del subsets["count"]  # more subsets leave the first ones what they are
        parts = {"recipe": setting.recipe.to_dict(), "data": fingerprint, "subsets": subsets, "version": version}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def load_plan(file: Path, platform: str | None = None) -> Plan:
    """Read and check a plan, to be trained on a platform; None is this process's. Raises PlanError."""
    try:
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise PlanError(f"cannot read the plan {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{file} is not TOML: {error}") from error
    return make_plan(content, platform)


def make_plan(content: dict[str, Any], platform: str | None = None) -> Plan:
    """A plan from the content of its file, with `auto` precision resolved for a platform. Raises PlanError."""
    unknown = set(content) - TABLES
    if unknown:
        raise PlanError(f"unknown entry {', '.join(sorted(unknown))}; a plan has {', '.join(sorted(TABLES))}")
    base = content.get("recipe")
    if not isinstance(base, str):
        raise PlanError('the plan names no recipe; begin it with a line like recipe = "mini"')
    names = content.get("data", "cifar10")
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not names or any(name not in DATA_NAMES for name in names):
        raise PlanError(f"data is {names!r}, but it must be one or more of {', '.join(DATA_NAMES)}")
    subsets, keep = _subsets(content.get("subsets")), _flags(content.get("keep", {}))
    settings = [
        _setting(base, content.get("set", {}) | changes, subsets, name, platform)
        for name in DATA_NAMES
        if name in names
        for changes in _changes(content)
    ]
    if len({(setting.recipe, setting.data) for setting in settings}) < len(settings):
        raise PlanError("two settings of the plan are the same; remove one of them")
    if len({setting.recipe.test_examples for setting in settings}) > 1:
        raise PlanError(
            "the settings differ in test_examples; set one number, because they are compared image by image"
        )
    return Plan(base, tuple(settings), _seeds(content.get("seeds")), subsets, **keep)


def _changes(content: dict[str, Any]) -> list[dict[str, Any]]:
    grid, cases = content.get("grid"), content.get("cases")
    if grid is not None and cases is not None:
        raise PlanError("a plan has either a grid or cases, not both")
    if cases is not None:
        if not isinstance(cases, list) or not cases or not all(isinstance(case, dict) for case in cases):
            raise PlanError("cases must be tables: [[cases]], then one line for each field")
        return cases
    for field, values in (grid or {}).items():
        if not isinstance(values, list) or not values:
            raise PlanError(f"grid.{field} is {values!r}, but it must be a list of values")
    columns = [[(field, value) for value in values] for field, values in (grid or {}).items()]
    return [dict(combination) for combination in itertools.product(*columns)]


def _setting(
    base: str, changes: dict[str, Any], subsets: Subsets | None, data: DataName, platform: str | None
) -> Setting:
    fields = {field.name for field in dataclasses.fields(Recipe)}
    unknown = sorted(set(changes) - fields)
    if unknown:
        raise PlanError(f"unknown recipe field {', '.join(unknown)}; the fields are {', '.join(sorted(fields))}")
    try:
        # TOML has no None and no tuples.
        values = {name: _value(name, value) for name, value in changes.items()}
        recipe = resolve_precision(dataclasses.replace(get_recipe(base), **values), platform)
        pool = recipe.train_examples
        if subsets is not None:
            recipe = dataclasses.replace(recipe, train_examples=subsets.size(pool))
    except ValueError as error:
        raise PlanError(f"{error} (in {_describe(changes)})") from error
    return Setting(changes, recipe, pool, data)


def _value(name: str, value: Any) -> Any:
    if value == "none" and name == "whiten_bias_epochs":
        return None
    return tuple(value) if isinstance(value, list) else value


def _seeds(value: Any) -> tuple[int, ...]:
    seeds = list(range(value)) if _is_whole(value) and value > 0 else value
    if not isinstance(seeds, list) or not seeds or not all(_is_whole(s) and 0 <= s <= LARGEST_SEED for s in seeds):
        raise PlanError(f"seeds is {value!r}, but it must be how many, at least 1, or a list of seeds from 0 to 2^32-1")
    if len(set(seeds)) < len(seeds):
        raise PlanError("seeds has the same seed twice")
    return tuple(seeds)


def _subsets(value: Any) -> Subsets | None:
    if value is None:
        return None
    try:
        subsets = Subsets(**value)
    except TypeError as error:
        raise PlanError("subsets must have count and fraction, may have seed, and nothing else") from error
    if not _is_whole(subsets.count) or subsets.count < 1:
        raise PlanError(f"subsets.count is {subsets.count!r}, but it must be a whole number, at least 1")
    if not isinstance(subsets.fraction, float | int) or not 0 < subsets.fraction <= 1:
        raise PlanError(f"subsets.fraction is {subsets.fraction!r}, but it must be more than 0 and at most 1")
    if not _is_whole(subsets.seed) or subsets.seed < 0:
        raise PlanError(f"subsets.seed is {subsets.seed!r}, but it must be a whole number from 0")
    return subsets


def _flags(value: Any) -> dict[str, bool]:
    known = {"logits": "keep_logits", "networks": "keep_networks"}
    if not isinstance(value, dict) or set(value) - set(known) or not all(isinstance(v, bool) for v in value.values()):
        raise PlanError("keep may have logits and networks, each true or false")
    return {argument: value.get(name, False) for name, argument in known.items()}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def title(described: dict[str, Any]) -> str:
    """A setting in a few words."""
    return ", ".join(f"{name} {value}" for name, value in described.items())


def _describe(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in changes.items()) or "the recipe itself"
