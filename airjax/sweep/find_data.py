"""The data of a sweep that is over: found by what its folder says of it, never on the network."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airjax.data import DataError, DataName, Dataset, load_cifar10, load_data
from airjax.data.cache import cache_folder, find_cached


def find_data(name: DataName, source: dict[str, Any] | None, data_dir: Path | None = None) -> Dataset:
    """The data set that networks were trained on.

    Args:
        name: the data set's.
        source: its entry in plan.json, a dict of `airjax.sweep.worker.Source`; None in a folder of an older version.
        data_dir: where CIFAR-10 lies; None looks where it lay, in AIRJAX_DATA and in the cache.

    Raises DataError naming the data set and the places where it is not.
    """
    fingerprint = source["fingerprint"] if source else None
    if name == "builtin":
        dataset = load_data("builtin")
        if fingerprint not in (None, dataset.fingerprint):
            raise DataError("builtin, as this version makes it, is not what the networks were trained on")
        return dataset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its content, which the sweep's records tell
        if data_dir is not None:
            dataset = load_cifar10(data_dir)
            if fingerprint not in (None, dataset.fingerprint):
                raise DataError(f"{data_dir} does not hold {_describe(name, source)}; check --data-dir")
            return dataset
        return _search(name, source, fingerprint)


def _search(name: str, source: dict[str, Any] | None, fingerprint: str | None) -> Dataset:
    looked = []
    for place in dict.fromkeys(_places(source)):
        looked.append(place)
        try:
            dataset = load_cifar10(place)
        except DataError:
            continue
        if fingerprint in (None, dataset.fingerprint):
            return dataset
    cached = find_cached(fingerprint) if fingerprint else _load_official()
    if cached is not None:
        return cached
    looked.append(f"the cache, {cache_folder()}")
    where = ", nor in ".join(looked)
    raise DataError(f"{_describe(name, source)} is unavailable: not in {where}; name its place with --data-dir")


def _places(source: dict[str, Any] | None) -> Iterator[str]:
    if source and source["place"]:
        yield source["place"]
    if named := os.environ.get("AIRJAX_DATA"):
        yield named


def _load_official() -> Dataset | None:
    try:
        return load_cifar10(download=False)
    except DataError:
        return None


def _describe(name: str, source: dict[str, Any] | None) -> str:
    if source is None:
        return name
    return f"the {name} that the networks were trained on ({source['content']} content, {source['fingerprint'][:12]})"
