"""CIFAR-10 from a folder, an archive, the cache or the network, as numpy arrays."""

import functools
import warnings
from pathlib import Path

from airjax.data.cifar import Form, Layout, archive_names, find_files, has_files, warn_shuffled
from airjax.data.content import Split, describe_files
from airjax.data.dataset import CIFAR10_CLASSES, CUSTOM, Dataset, named_by_content
from airjax.data.download import MIRRORED, Remote
from airjax.data.official import Official, load_official

NAMES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
WHERE = (
    "Put cifar-10-binary.tar.gz or cifar-10-python.tar.gz, or the folder that either unpacks to, somewhere, and name "
    "the place with --data-dir or AIRJAX_DATA; or use --data synthetic, which needs no files. Images of your own and "
    "other data sets are named with --data (docs/data.md)"
)
FORM = Form(
    "cifar10",
    "CIFAR-10",
    (
        Layout("cifar-10-batches-bin", tuple(f"{name}.bin" for name in NAMES), binary=True),
        Layout("cifar-10-batches-py", NAMES, binary=False),
    ),
    (10_000,) * len(NAMES),
    CIFAR10_CLASSES,
    label_bytes=1,
    label_byte=0,
    label_key=b"labels",
    archives=archive_names("cifar-10"),
    archive_md5=(),  # the content itself is known (`airjax.data.content`)
    where=WHERE,
)
REMOTE = Remote(
    MIRRORED,
    "c32a1d4ab5d03f1284b67883e8d87530",
    170_052_171,
    (
        f"https://www.cs.toronto.edu/~kriz/{MIRRORED}",
        f"https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/{MIRRORED}",
    ),
)


def load_cifar10(data_dir: str | Path | None = None, *, download: bool = True) -> Dataset:
    """CIFAR-10: from data_dir, else from AIRJAX_DATA, else from the user's cache, else from the network.

    Args:
        data_dir: the official binary folder, the official python folder, either archive (.tar.gz, .tgz, .tar
            or .zip), or a folder with one of these.
        download: whether to use the network where nothing else is there.

    Warns where the official images are in another order, and where they are other images: the data set then has the
    name "custom".

    Raises:
        DataError: not found, not to be downloaded, or damaged. A place that was named is never passed over.
    """
    return load_official(official(), data_dir, download_files=download)


def official() -> Official:
    """Describe CIFAR-10's files."""
    find = functools.partial(find_files, FORM)
    return Official(FORM.name, FORM.title, "AIRJAX_DATA", (REMOTE,), WHERE, find, _checked)


def has_cifar10(folder: Path) -> bool:
    """Say whether a folder has any of the files that `load_cifar10` reads."""
    return has_files(FORM, folder)


def _checked(dataset: Dataset, place: Path) -> Dataset:
    # Warns the caller of load_cifar10 where the content is not the official one.
    if dataset.content == "official":
        return dataset
    if dataset.content == "shuffled":
        warn_shuffled("CIFAR-10", place)
        return dataset
    warnings.warn(
        f"{place} has the form of CIFAR-10 but not its content ({describe_files(_files_of(dataset))}): it is taken as "
        f'data of your own, named "{CUSTOM}", and says nothing about CIFAR-10. If it should be CIFAR-10, fetch the '
        "archive again",
        stacklevel=4,
    )
    return named_by_content(dataset)


def _files_of(dataset: Dataset) -> dict[str, Split]:
    first, parts = 0, {}
    for name, size in zip(NAMES[:-1], FORM.sizes, strict=False):
        parts[name] = Split(dataset.train_images[first : first + size], dataset.train_labels[first : first + size])
        first += size
    return parts | {NAMES[-1]: Split(dataset.test_images, dataset.test_labels)}
