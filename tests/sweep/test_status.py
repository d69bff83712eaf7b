"""What workers say that they do, for those who watch."""

from pathlib import Path

from airjax.sweep.shard import WHOLE, Shard
from airjax.sweep.status import Doing, clear_phases, phases_of, read_phases, write_phase


def test_a_shard_counts_and_clears_its_own_workers_alone(tmp_path: Path) -> None:
    first, second = (phases_of(tmp_path, Shard(number, 2).name) for number in (0, 1))
    write_phase(first, "a-1", "training", 3)
    write_phase(second, "b-2", "compiling")
    assert read_phases(first) == {"a-1": Doing("training", 3)}
    assert read_phases(second) == {"b-2": Doing("compiling", 0)}
    clear_phases(first)
    assert (read_phases(first), len(read_phases(second))) == ({}, 1)
    write_phase(second, "b-2", None)
    assert read_phases(second) == {}
    assert phases_of(tmp_path, WHOLE.name) == phases_of(tmp_path) == tmp_path / "phases"


def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "phases").write_text("no folder")
    write_phase(phases_of(tmp_path), "a-1", "training")
    assert read_phases(phases_of(tmp_path)) == {}
