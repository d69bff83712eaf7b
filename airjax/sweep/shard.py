"""A part of a sweep for each process of an array of jobs: they share a folder, and know nothing of each other."""

import contextlib
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from airjax.sweep.folder import SweepError, lock_folder

PATIENCE = 120.0  # seconds that a shard waits for another one, which prepares the folder


class Shard(NamedTuple):
    """The networks whose ids fall to one of num_shards processes."""

    number: int  # from 0
    num_shards: int

    @property
    def name(self) -> str:
        """Return what its files are called: "2-of-8"; of the whole sweep nothing."""
        return "" if self == WHOLE else f"{self.number}-of-{self.num_shards}"

    def has(self, name: str) -> bool:
        """Say whether a network is this shard's, by its id: which shard it falls to depends on nothing else."""
        return zlib.crc32(name.encode()) % self.num_shards == self.number


WHOLE = Shard(0, 1)


def parse_shard(text: str) -> Shard:
    """Read "i/n", with i from 0 to n-1, as arrays of jobs count. Raises ValueError."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ValueError(f"shard is {text!r}, but it must be i/n with i from 0 to n-1, such as 0/8")
    return Shard(int(number), int(count))


@contextlib.contextmanager
def own_shard(out: Path, shard: Shard, patience: float = PATIENCE) -> Iterator[None]:
    """Keep others out of a shard, and a process that trains the whole sweep out of all of them. Raises SweepError."""
    if shard == WHOLE:
        if any((out / "shards").glob("*")):
            raise SweepError(f"{out} is trained in shards; go on with --shard, or remove {out / 'shards'}")
        with lock_folder(out):
            yield
        return
    with contextlib.ExitStack() as held:
        # Else a folder that is trained as a whole would be marked as one of shards.
        with prepared_alone(out, shard, patience):
            held.enter_context(lock_folder(out / "shards" / shard.name))
        yield


@contextlib.contextmanager
def prepared_alone(out: Path, shard: Shard, patience: float = PATIENCE) -> Iterator[None]:
    """Keep other shards from preparing the folder at the same time: each waits for its turn. Raises SweepError."""
    if shard == WHOLE:  # which holds the folder already
        yield
        return
    deadline = time.monotonic() + patience
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(lock_folder(out))
                break
            except SweepError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield
