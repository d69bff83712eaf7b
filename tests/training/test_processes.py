"""Several processes of one training: what they agree on."""

import os
import platform

import numpy as np
import pytest

from airjax.cli.train_data import default_workers
from airjax.training import processes
from airjax.training.processes import agree_to_stop, sharing_cores


def test_processes_ask_each_other_whether_to_stop_in_every_so_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def should_stop() -> bool:
        return False

    assert agree_to_stop(should_stop, 3) is should_stop  # alone
    asked: list[int] = []

    def largest_of(number: int) -> int:
        asked.append(number)
        return 1  # another process is to stop

    monkeypatch.setattr(processes, "several", lambda: True)
    monkeypatch.setattr(processes, "largest_of", largest_of)
    together = agree_to_stop(should_stop, 3)
    assert [together() for _ in range(6)] == [False, False, True, False, False, True]
    assert asked == [0, 0]


def test_what_the_first_process_hands_over_may_be_larger_than_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MESSAGE", 7)
    arrays = [np.arange(5, dtype=np.float32), np.array([-0.0, np.nan]), np.zeros((0, 3), np.int32)]
    for one, other in zip(arrays, processes.arrays_from_first(arrays), strict=True):
        assert one.tobytes() == other.tobytes()
        assert (one.shape, one.dtype) == (other.shape, other.dtype)


def test_processes_on_the_same_cores_share_them_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sharing_cores() == 1  # alone
    eight = set(range(8))
    places = [("a", eight), ("a", eight), ("a", {8, 9}), ("b", eight)]
    digests: list[np.ndarray] = []

    def stand_at(place: tuple[str, set[int]]) -> None:
        host, cores = place
        monkeypatch.setattr(platform, "node", lambda: host)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)

    monkeypatch.setattr(processes, "several", lambda: True)
    monkeypatch.setattr(processes, "_gather", lambda mine: digests.append(mine) or mine[None])
    for place in places:
        stand_at(place)
        assert sharing_cores() == 1
    monkeypatch.setattr(processes, "_gather", lambda mine: np.stack(digests))
    found = []
    for place in places:
        stand_at(place)
        found.append((sharing_cores(), default_workers()))
    # Two share eight cores, one is bound to two of its own, and one has another machine to itself.
    assert found == [(2, 3), (2, 3), (1, 1), (1, 7)]
