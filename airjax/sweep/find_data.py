"""The data of a sweep that is over: found by what its folder says of it, never on the network."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airjax.data import DataError, Dataset, load_data, with_labels
from airjax.data.cache import cache_folder, find_cached
from airjax.data.labels import VARIABLE
from airjax.data.registry import find_entry


def find_data(name: str, source: dict[str, Any] | None, data_dir: Path | None = None) -> Dataset:
    """Find the data set that networks were trained on.

    Args:
        name: the data set's, or its path.
        source: its entry in plan.json, a dict of `airjax.sweep.worker.Source`; None in a folder of an older version.
        data_dir: where its files lie; None looks where they lay, where the environment says and in the cache.

    Raises DataError naming the data set and the places where it is not.
    """
    entry = find_entry(name)
    if entry and not entry.has_files:
        dataset = _with_split(load_data(name), source)
        if not _is_it(dataset, source):
            raise DataError(f"{name}, as this version makes it, is not what the networks were trained on")
        return dataset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its content, which the sweep's records tell
        if data_dir is not None and entry:
            dataset = _with_split(entry.load(data_dir), source)
            if not _is_it(dataset, source):
                raise DataError(f"{data_dir} does not hold {_describe(name, source)}; check --data-dir")
            return dataset
        return _search(name, source)


def _is_it(dataset: Dataset, source: dict[str, Any] | None) -> bool:
    return source is None or dataset.fingerprint == source["fingerprint"]


def _with_split(dataset: Dataset, source: dict[str, Any] | None) -> Dataset:
    if source and source.get("labels"):
        place = os.environ.get(VARIABLE) or source.get("labels_place")
        dataset = with_labels(dataset, source["labels"], place)
    count = source.get("validation") if source else None
    # What the cache has under the fingerprint may be the parts already.
    return dataset.with_validation(count) if count and not _is_it(dataset, source) else dataset


def _search(name: str, source: dict[str, Any] | None) -> Dataset:
    looked = []
    for place in dict.fromkeys(_places(name, source)):
        looked.append(place)
        try:
            dataset = _with_split(_load(name, place, source), source)
        except DataError:
            continue
        if _is_it(dataset, source):
            return dataset
    cached = find_cached(source.get("whole") or source["fingerprint"]) if source else _load_official(name)
    if cached is None and source and not source.get("whole") and (source.get("labels") or source.get("validation")):
        cached = _load_official(name)  # a training's folder does not say what the whole was
    if cached is not None and _is_it(found := _with_split(cached, source), source):
        return found
    looked.append(f"the cache, {cache_folder()}")
    where = ", nor in ".join(looked)
    remedy = "name its place with --data-dir" if find_entry(name) else "put it there again"
    raise DataError(f"{_describe(name, source)} is unavailable: not in {where}; {remedy}")


def _load(name: str, place: str, source: dict[str, Any] | None) -> Dataset:
    entry = find_entry(name)
    if entry is not None:
        return entry.load(place)
    return load_data(place, image_size=source.get("image_size") if source else None)


def _places(name: str, source: dict[str, Any] | None) -> Iterator[str]:
    if source and source["place"]:
        yield source["place"]
    if find_entry(name) is None:
        yield name
    elif named := _named(name):
        yield named


def _named(name: str) -> str | None:
    # The place that the environment names.
    entry = find_entry(name)
    return os.environ.get(entry.official.variable) if entry and entry.official else None


def _load_official(name: str) -> Dataset | None:
    entry = find_entry(name)
    try:
        return entry.load(None, download=False) if entry and entry.has_files and not _named(name) else None
    except DataError:
        return None


def _describe(name: str, source: dict[str, Any] | None) -> str:
    if source is None:
        return name
    return f"the {name} that the networks were trained on ({source['content']} content, {source['fingerprint'][:12]})"
