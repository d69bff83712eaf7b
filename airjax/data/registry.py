"""The data sets that have a name. A new one is a file with its loader, and a line here."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from airjax.data import cifar10, cifar100, cinic10, svhn
from airjax.data.builtin import load_builtin
from airjax.data.dataset import SYNTHETIC, Dataset
from airjax.data.official import Official


class Entry(NamedTuple):
    """A data set that has a name."""

    load: Callable[..., Dataset]  # (place, download): from the path that is named; None: from where it is found
    what: str
    origin: str
    official: Official | None = None  # where its files are looked for; None where it has none

    @property
    def has_files(self) -> bool:
        """Say whether --data-dir can name their folder."""
        return self.official is not None


def _make_synthetic(place: Path | str | None, download: bool = True) -> Dataset:
    del place, download
    return load_builtin()


CIFAR_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
SVHN_PAGE = "http://ufldl.stanford.edu/housenumbers/"
CINIC_PAGE = "https://datashare.ed.ac.uk/handle/10283/3192"
REGISTRY: dict[str, Entry] = {
    "cifar10": Entry(
        cifar10.load_cifar10, "60,000 photographs of 32x32 pixels in ten classes", CIFAR_PAGE, cifar10.official()
    ),
    "cifar100": Entry(
        cifar100.load_cifar100, "60,000 photographs of 32x32 pixels in 100 classes", CIFAR_PAGE, cifar100.official()
    ),
    "cifar100-coarse": Entry(
        functools.partial(cifar100.load_cifar100, coarse=True),
        "the images of cifar100 in its 20 superclasses",
        CIFAR_PAGE,
        cifar100.official(coarse=True),
    ),
    "svhn": Entry(
        svhn.load_svhn, "99,289 digits of house numbers, 32x32 pixels, never mirrored", SVHN_PAGE, svhn.official()
    ),
    "svhn-extra": Entry(
        functools.partial(svhn.load_svhn, extra=True),
        "svhn with 531,131 easier digits more to train on",
        SVHN_PAGE,
        svhn.official(extra=True),
    ),
    "cinic10": Entry(
        cinic10.load_cinic10,
        "180,000 photographs of 32x32 pixels in CIFAR-10's classes",
        CINIC_PAGE,
        cinic10.official(),
    ),
    "cinic10-valid": Entry(
        functools.partial(cinic10.load_cinic10, valid=True),
        "cinic10 with its validation images in the place of its test images: to tune",
        CINIC_PAGE,
        cinic10.official(valid=True),
    ),
    SYNTHETIC: Entry(_make_synthetic, "60,000 drawn shapes of 32x32 pixels in ten classes", "made on the spot"),
}
ALIASES = {"builtin": SYNTHETIC}


def find_entry(name: str) -> Entry | None:
    """Find the data set of that name or alias; None where there is none."""
    return REGISTRY.get(ALIASES.get(name, name))


def known_names() -> str:
    """Return all names, for messages."""
    return ", ".join(REGISTRY)
