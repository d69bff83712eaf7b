"""Sweeps on other labels of CIFAR-10: in the plan, in the folder's record of its data, and found again by that."""

from pathlib import Path

import numpy as np
import pytest
from data_files import write_torch

import airjax
from airjax.data.cache import cache_folder, save_cached
from airjax.data.content import digest
from airjax.data.dataset import CIFAR10_CLASSES
from airjax.data.labels import LABEL_SETS
from airjax.sweep.find_data import find_data
from airjax.sweep.folder import check_data
from airjax.sweep.plan import PlanError, Run, make_plan
from airjax.sweep.worker import Job, _load, run_record

PLAN = {"recipe": "tiny", "seeds": 1, "data": "cifar10", "labels": "cifar10n-worst"}


@pytest.fixture
def cached(toy: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> airjax.Dataset:
    """A small CIFAR-10 in the cache, and a file of other labels that AIRJAX_LABELS names."""
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))
    parts = (toy.train_images, toy.train_labels, toy.test_images, toy.test_labels)
    data = airjax.Dataset("cifar10", *parts, CIFAR10_CLASSES).known_by_files()
    save_cached(cache_folder() / "cifar10-official.safetensors", data)
    clean = data.train_labels.astype(np.int64)
    worse = (clean + 1) % 10
    write_torch(tmp_path / "CIFAR-10_human.pt", {"clean_label": clean, "worse_label": worse})
    made = LABEL_SETS["cifar10n-worst"]._replace(sha256=digest([worse.astype(np.int32)]))
    monkeypatch.setitem(LABEL_SETS, "cifar10n-worst", made)
    monkeypatch.setenv("AIRJAX_LABELS", str(tmp_path))
    return data


def test_a_plan_says_its_labels() -> None:
    assert make_plan(PLAN).labels == "cifar10n-worst"
    assert make_plan({"recipe": "tiny", "seeds": 1}).labels is None
    with pytest.raises(PlanError, match="labels is 'x', but it must be one of cifar10n-aggregate, "):
        make_plan(PLAN | {"labels": "x"})
    for names in ("synthetic", ["cifar10", "synthetic"]):
        with pytest.raises(PlanError, match='which are labels of CIFAR-10: data must be "cifar10" alone'):
            make_plan(PLAN | {"data": names})


@pytest.mark.parametrize("validation", [0, 50])
def test_the_data_of_a_sweep_has_them_and_is_found_again(
    validation: int, cached: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"validation": validation, "set": {"test_examples": 50, "train_examples": 250}} if validation else {}
    source = check_data(make_plan(PLAN | entries), None)["cifar10"]
    assert (source.labels, source.content, source.whole) == ("cifar10n-worst", "official", cached.fingerprint)
    assert source.labels_place == str(tmp_path)
    monkeypatch.delenv("AIRJAX_LABELS")
    for data in (_load("cifar10", source, None, "here"), find_data("cifar10", source._asdict())):
        assert data.fingerprint == source.fingerprint
        assert data.labels == "cifar10n-worst"
        assert len(data.train_labels) == 300 - validation
    job = Job(make_plan(PLAN | entries), tmp_path, None, None, "cpu", {"cifar10": source})
    assert run_record(job, Run("id-0", 0, 0, None), None)["labels"] == "cifar10n-worst"
    plain = check_data(make_plan({"recipe": "tiny", "seeds": 1, "data": "cifar10"}), None)["cifar10"]
    assert (plain.fingerprint, plain.labels, plain.whole) == (cached.fingerprint, None, None)
