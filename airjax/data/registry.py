"""The data sets that have a name. A new one is a file with its loader, and a line here."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from airjax.data.builtin import load_builtin
from airjax.data.cifar10 import load_cifar10
from airjax.data.dataset import SYNTHETIC, Dataset


class Entry(NamedTuple):
    """A data set that has a name."""

    load: Callable[[Path | str | None], Dataset]  # from the path that is named; None: from where it is found
    what: str
    origin: str
    has_files: bool = True  # so that --data-dir can name their folder


def _make_synthetic(_: Path | str | None) -> Dataset:
    return load_builtin()


REGISTRY: dict[str, Entry] = {
    "cifar10": Entry(
        load_cifar10, "60,000 photographs of 32x32 pixels in ten classes", "https://www.cs.toronto.edu/~kriz/cifar.html"
    ),
    SYNTHETIC: Entry(
        _make_synthetic, "60,000 drawn shapes of 32x32 pixels in ten classes", "made on the spot", has_files=False
    ),
}
ALIASES = {"builtin": SYNTHETIC}


def find_entry(name: str) -> Entry | None:
    """The data set of that name or alias; None where there is none."""
    return REGISTRY.get(ALIASES.get(name, name))


def known_names() -> str:
    """All names, for messages."""
    return ", ".join(REGISTRY)
