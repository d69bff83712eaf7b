"""Pieces of work measured in turn inside one process; one that fails, or time that runs out, leaves the others."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

PREPARING = 0.6  # of the time allowed; what is not ready by then is not measured


class Turns(NamedTuple):
    """What was measured of each piece of work, and what was not."""

    seconds: dict[str, dict[int, float]]  # name -> number of the turn -> seconds
    failed: dict[str, str]  # name -> why
    left_out: list[str]  # for want of time
    interrupted: KeyboardInterrupt | None = None  # what ended the turns before their number


def take_turns(
    makers: Mapping[str, Callable[[], Callable[[], object]]],
    turns: int,
    on_turn: Callable[[str, int, float], None],
    allowed: float = float("inf"),
) -> Turns:
    """Prepare every piece of work, then do each once in every turn: in order, then in reverse.

    Args:
        makers: name -> a function that prepares, and returns the work.
        turns: how many count; one before them does not.
        on_turn: called with name, number of the turn and seconds of each that counts, when it is done.
        allowed: seconds after which no further work begins.

    An interruption ends the turns; it is raised where nothing is measured.
    """
    found = Turns({}, {}, [])
    try:
        _take_turns(found, makers, turns, on_turn, allowed)
    except KeyboardInterrupt as interrupt:
        if not found.seconds:
            raise
        known = {*found.seconds, *found.failed, *found.left_out}
        found.left_out.extend(name for name in makers if name not in known)
        return found._replace(interrupted=interrupt)
    return found


def _take_turns(
    found: Turns,
    makers: Mapping[str, Callable[[], Callable[[], object]]],
    turns: int,
    on_turn: Callable[[str, int, float], None],
    allowed: float,
) -> None:
    # Enters what it finds.
    began = time.monotonic()
    ready: dict[str, Callable[[], object]] = {}
    for name, make in makers.items():
        if time.monotonic() - began > PREPARING * allowed:
            found.left_out.append(name)
            continue
        try:
            ready[name] = make()
        except Exception as error:
            found.failed[name] = f"{type(error).__name__}: {error}"
    for turn in range(-1, turns):
        for name in list(ready) if turn % 2 == 0 else list(ready)[::-1]:
            if time.monotonic() - began > allowed:
                found.left_out.extend(name for name in ready if not found.seconds.get(name))
                return
            start = time.perf_counter()
            try:
                ready[name]()
            except Exception as error:
                found.failed[name] = f"{type(error).__name__}: {error}"
                del ready[name]
                continue
            if turn >= 0:
                taken = time.perf_counter() - start
                found.seconds.setdefault(name, {})[turn] = taken
                on_turn(name, turn, taken)


def summarise(found: Turns, base: str) -> dict[str, dict[str, Any]]:
    """Name -> median seconds, number of turns, and median ratio to the base's time in the same turn.

    What failed has its reason instead of a time; the ratio is None where the base was not measured in those turns.
    """
    own = found.seconds.get(base, {})
    rows: dict[str, dict[str, Any]] = {}
    for name, taken in found.seconds.items():
        ratios = [seconds / own[turn] for turn, seconds in taken.items() if turn in own]
        ratio = statistics.median(ratios) if ratios else None
        rows[name] = {"seconds": statistics.median(taken.values()), "ratio": ratio, "n": len(taken)}
    return rows | {name: rows.get(name, {}) | {"failed": reason} for name, reason in found.failed.items()}
