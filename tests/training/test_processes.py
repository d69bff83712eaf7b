"""Several processes of one training: what they agree on."""

import pytest

from airjax.training import processes
from airjax.training.processes import agree_to_stop


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
