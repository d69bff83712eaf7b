"""A sweep's folder and its data before anything trains: what they hold, and whether the plan may go on in them."""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from airjax.data import Dataset, load_data, with_labels
from airjax.data.dataset import describe_resized
from airjax.data.labels import VARIABLE
from airjax.data.place import resolved
from airjax.data.registry import find_entry
from airjax.recipes.recipe import Recipe
from airjax.sweep.plan import SAME_NUMBERS_SINCE, Plan, Setting
from airjax.sweep.store import read_plan
from airjax.sweep.worker import Source
from airjax.utils.records import dump_json, hold_folder, write_json
from airjax.utils.units import format_bytes

MOST_CLASSES = 256


class SweepError(ValueError):
    """A sweep that cannot begin; the message names the remedy."""


def check_data(plan: Plan, data_dir: Path | None) -> dict[str, Source]:
    """Return what the plan's data sets are.

    Raises SweepError where they do not fit it, DataError where they are missing.
    """
    found: dict[str, Source] = {}
    for name in dict.fromkeys(setting.data for setting in plan.settings):
        entry = find_entry(name)
        official = entry.official if entry else None
        labels_place = (os.environ.get(VARIABLE) or data_dir) if plan.labels else None
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            whole = load_data(name, data_dir if official else None, image_size=plan.image_size)
            labelled = with_labels(whole, plan.labels, labels_place) if plan.labels else whole
        for note in notes:
            print(f"warning: {note.message}", file=sys.stderr)
        if whole.resized:
            print(f"{name}: {describe_resized(whole)}")
        place = (data_dir or os.environ.get(official.variable)) if official else None if entry else name
        source = _source(plan, name, labelled, resolved(place))
        if plan.labels:
            source = source._replace(whole=whole.fingerprint, labels=plan.labels, labels_place=resolved(labels_place))
        found[name] = source
    counts = {source.classes for source in found.values()}
    if plan.keep.logits and len(counts) > 1:
        raise SweepError(
            f"the data sets have {', '.join(f'{source.classes} ({name})' for name, source in found.items())} classes, "
            "but logits are kept of as many for every network; leave keep.logits out, or make a sweep of each"
        )
    return found


def _source(plan: Plan, name: str, whole: Dataset, place: str | None) -> Source:
    data = whole.with_validation(plan.validation) if plan.validation else whole
    for setting in plan.settings:
        if setting.data == name:
            _require_examples(setting, data)
    if len(data.classes) > MOST_CLASSES:
        raise SweepError(
            f"{name} has {len(data.classes)} classes, but a sweep keeps that of every test image in a byte, so that "
            f"there may be {MOST_CLASSES}; train with python -m airjax.train"
        )
    return Source(
        data.fingerprint,
        data.content,
        place,
        data.split,
        plan.validation,
        whole.fingerprint if plan.validation else None,
        plan.image_size,
        classes=len(data.classes),
    )


def prepare_folder(
    plan: Plan, out: Path, data: dict[str, Source], check: Callable[[list[str]], None] = lambda names: None
) -> list[str]:
    """Write what the folder is to hold, plan.json, and return the ids of the plan's settings.

    check is called with these before anything is written; not where the folder holds this very plan. Raises SweepError
    where it holds another sweep, one whose networks are not all in the plan.
    """
    version = SAME_NUMBERS_SINCE
    file = out / "plan.json"
    old = read_plan(out) if file.exists() else None
    recorded = {} if old is None else dict(zip(old["settings"], old.get("recipes", []), strict=False))
    named = [_name_setting(plan, setting, data, version, recorded) for setting in plan.settings]
    names = [name for name, _ in named]
    if old is not None and not _extends(plan, names, old):
        raise SweepError(f"{out} holds another sweep (see {file}); choose another --out")
    described = {
        "recipe": plan.base,
        "num_runs": plan.num_runs,
        # How many, where they are the first ones: there may be billions.
        "seeds": {"count": len(plan.seeds)} if isinstance(plan.seeds, range) else plan.seeds,
        "subsets": dataclasses.asdict(plan.subsets) if plan.subsets else None,
        "settings": {name: setting.described for name, setting in zip(names, plan.settings, strict=True)},
        "pools": {name: setting.pool for name, setting in zip(names, plan.settings, strict=True)},
        "recipes": [recipe for _, recipe in named],
        "data": {name: source._asdict() for name, source in data.items()},
    }
    if old is None or json.loads(file.read_text()) != json.loads(dump_json(described)):
        check(names)
        write_json(file, described)
    return names


def planned_ids(plan: Plan, names: Sequence[str], ids: Collection[str]) -> set[str]:
    """Return those of some networks' ids that are in the plan, whose own may be too many to list; names are its
    settings'.
    """
    seeds = plan.seeds if isinstance(plan.seeds, range) else set(plan.seeds)
    subsets = {str(number) for number in range(plan.subsets.count)} if plan.subsets else {""}
    settings = set(names)

    def is_planned(text: str) -> bool:
        name, _, rest = text.partition("-")
        seed, _, subset = rest.partition("-")
        return name in settings and int(seed) in seeds and subset in subsets

    return {text for text in ids if is_planned(text)}


def require_space(out: Path, needed: int) -> None:
    """Raise SweepError where the disk has fewer free bytes than needed."""
    free = shutil.disk_usage(out).free
    if needed > free:
        raise SweepError(
            f"what is left of the sweep needs {format_bytes(needed)}, but {out} has {format_bytes(free)} free; "
            "choose another --out, or keep less in the plan"
        )


@contextlib.contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Make the folder and keep others out of it. Raises SweepError where one is in it, or it cannot be written."""
    with hold_folder(out, SweepError):
        yield


def _require_examples(setting: Setting, data: Dataset) -> None:
    wanted = setting.pool, setting.recipe.test_examples
    found = len(data.train_images), len(data.test_images)
    if wanted[0] > found[0] or wanted[1] > found[1]:
        train, test = (min(pair) for pair in zip(wanted, found, strict=True))
        raise SweepError(
            f"the plan trains on {wanted[0]} and tests on {wanted[1]} images, but {setting.data} has {found[0]} and "
            f"{found[1]} {data.split} images; write train_examples = {train} and test_examples = {test} under [set]"
        )


def _name_setting(
    plan: Plan, setting: Setting, data: dict[str, Source], version: str, recorded: dict[str, dict[str, Any]]
) -> tuple[str, dict[str, Any]]:
    # A setting's id, and its recipe as the id was made from it. Ids used to depend on how a plan wrote a number, 2 or
    # 2.0 epochs: those that a folder has recorded stay.
    fingerprint, recipe = data[setting.data].fingerprint, setting.recipe.to_dict()
    for name, written in recorded.items():
        if Recipe.from_dict(written) == setting.recipe and name == plan.setting_id(
            setting, fingerprint, version, written
        ):
            return name, written
    return plan.setting_id(setting, fingerprint, version), recipe


def _extends(plan: Plan, names: Sequence[str], old: dict[str, Any]) -> bool:
    # Whether every network of the old plan is one of the new. What subsets are drawn from and how is in the names.
    seeds = len(old["seeds"]) <= len(plan.seeds)
    if not (isinstance(plan.seeds, range) and isinstance(old["seeds"], range)):
        seeds = seeds and set(old["seeds"]) <= set(plan.seeds)
    before, after = (old["subsets"] or {"count": 0})["count"], plan.subsets.count if plan.subsets else 0
    return seeds and set(old["settings"]) <= set(names) and before <= after
