"""Parts of a sweep for processes that know nothing of each other."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from airjax.cli.sweep import count_runs, main, make_chunks
from airjax.sweep.folder import SweepError
from airjax.sweep.plan import make_plan
from airjax.sweep.shard import WHOLE, Shard, own_shard, parse_shard
from airjax.sweep.store import load

PLAN = (
    'recipe = "tiny"\ndata = "builtin"\nseeds = 6\n[set]\ntrain_examples = 64\ntest_examples = 20\nwidths = [4, 4, 4]\n'
)


def test_every_network_falls_to_one_shard_and_each_has_its_part() -> None:
    plan = make_plan({"recipe": "tiny", "data": "builtin", "seeds": 1000, "grid": {"momentum": [0.5, 0.8]}})
    names = ["a", "b"]
    shards = [Shard(number, 3) for number in range(3)]
    parts = [[run.id for chunk in make_chunks(plan, names, {}, 8, shard) for run in chunk.runs] for shard in shards]
    whole = [run.id for chunk in make_chunks(plan, names, {}, 8) for run in chunk.runs]
    assert sorted(itertools.chain.from_iterable(parts)) == sorted(whole)
    assert [len(part) for part in parts] == [count_runs(plan, names, shard) for shard in shards]
    assert all(580 < len(part) < 760 for part in parts)
    assert count_runs(plan, names, WHOLE) == 2000


@pytest.mark.parametrize("text", ["3/3", "1", "a/2", "-1/2", "0/0", "1/2/3", ""])
def test_what_is_no_shard_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="it must be i/n with i from 0 to n-1, such as 0/8"):
        parse_shard(text)
    with pytest.raises(SystemExit, match="2"):
        main(["plan.toml", "--out", str(tmp_path), f"--shard={text}"])
    assert "it must be i/n" in capsys.readouterr().err


def test_shards_at_the_same_time_make_one_sweep(tmp_path: Path) -> None:
    plan, out = tmp_path / "plan.toml", tmp_path / "out"
    plan.write_text(PLAN)
    command = [sys.executable, "-m", "airjax.sweep", str(plan), "--out", str(out), "--workers", "1"]
    both = [
        subprocess.Popen([*command, "--shard", f"{k}/2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for k in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    rows = load(out).rows
    assert sorted(row["seed"] for row in rows) == list(range(6))
    assert len(list((out / "workers").iterdir())) == 2
    again = subprocess.run([*command, "--shard", "0/2"], capture_output=True, text=True, check=True)
    mine = sum(Shard(0, 2).has(row["id"]) for row in rows)
    assert f"{mine} networks of the 6, shard 0 of 2, {mine} of them finished before" in again.stdout
    whole = subprocess.run(command, capture_output=True, text=True, check=False)
    assert whole.returncode == 2
    assert "is trained in shards; go on with --shard" in whole.stderr
    assert np.isfinite([row["accuracy"] for row in load(out).rows]).all()


def test_a_shard_leaves_a_folder_alone_that_is_trained_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with own_shard(out, WHOLE):
        with (
            pytest.raises(SweepError, match="another process is writing to"),
            own_shard(out, Shard(0, 2), patience=0.0),
        ):
            pass
        assert not (out / "shards").exists()
    with own_shard(out, Shard(0, 2)):
        assert (out / "shards").exists()
        with pytest.raises(SweepError, match="another process is writing to"), own_shard(out, Shard(0, 2)):
            pass
        with own_shard(out, Shard(1, 2)):
            pass
