"""The rounds of a search as parts of an experiment: each follows from the results of the one before it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from experiments.cells import Cells, count_finished, read_cells
from experiments.experiment import Part
from experiments.search import Round, Search


def follow_rounds(
    search: Search, out: Path, first: Sequence[Part], follow: Callable[[int, Round, Cells], Sequence[Part]]
) -> Iterator[Part]:
    """Yield the parts of a search's rounds, as far as the rounds before them are complete.

    Args:
        search: whose rounds they are.
        out: the folder of the parts' results.
        first: the parts of the coarse round.
        follow: returns the parts of a round from its number, what it is to train, and the cells of the one before.
    """
    before = first
    yield from before
    for number, one in enumerate(search.rounds, start=1):
        if any(count_finished(out / part.name) < part.load().num_runs for part in before):
            return
        before = follow(number, one, read_cells([out / part.name for part in before], mixed=True))
        yield from before
