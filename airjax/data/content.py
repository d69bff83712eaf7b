"""What is known of the content of data sets: checksums of their images and labels, in order and without order."""

import hashlib
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

Content = Literal["official", "shuffled", "unknown"]


class Split(NamedTuple):
    """The labelled images of a split."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Integer[np.ndarray, " n"]  # of a known data set from 0 to 255


class Known(NamedTuple):
    """The checksums of a data set's official content."""

    fingerprint: str  # of both splits, in order; "" where it was not at hand
    train: str  # of the training split, in any order
    test: str


KNOWN = {
    "cifar10": Known(
        "fd1294031143afdb9ae4aa49999a53e6559f4901b5ab1bd54d78e3ae214199de",
        "d59acf989e068e709ce686cda292672c7b212c08d29d3d3e6d8c3aa99eba6a85",
        "899683d46c3a8c66fd56e1af12202e69fe5a4517be10b0f68e04c78fe585c57c",
    ),
    # The official order was not at hand: files of it are known by their md5 sums (`airjax.data.cifar100`).
    "cifar100": Known(
        "",
        "36ce7a701fbea47796e570c34382aad50f2539687cfcbc6ae96e2f56530d29b6",
        "d3cd5d87a1b9317a0982c8ef5535fe3b86da8da90b13ce5e9b23ea06400dd5eb",
    ),
    "cifar100-coarse": Known(
        "",
        "535e9b3b3e555a5fc3991d807f2e642853451b5075118f2991963b537a8d5c15",
        "3b5ae1a495a5965216d431ffca711d839981e6359f972f434f24506757055ca0",
    ),
    "synthetic": Known("bdbce6c50cac77a12b6db285a34afc8edfbf01cf9837cdc21dbb7bbf918ada7f", "", ""),
}

# Of each file of CIFAR-10 in order, binary or python alike.
CIFAR10_FILES = {
    "data_batch_1": "b886e24f5621e568a573c0995db4e996eb67be5afff2b7b124404fa89dfb5bea",
    "data_batch_2": "52f59a5a611c8c13df85d00630a58c3069a30863766e91b2c90c6f423cb961e8",
    "data_batch_3": "cf062f8c10b1a65ff960ef6ee394126576b52c34123e4c06d74cb5ae84c3fbbb",
    "data_batch_4": "2c3266abf1c387a80b0dfefd0a6db850d8b7f060b9e7e00f1e54fe5e7cf7fe09",
    "data_batch_5": "fffc5bab176f020d6e0cb0e4c99666d911b01b2c9f71d40fa0a9406ea8894b44",
    "test_batch": "073b2777ba7024d9a481bb57ebd4af9b3809f4b97fd035116aa904a93c23b142",
}


def digest(arrays: list[np.ndarray]) -> str:
    """SHA-256 of arrays' dtypes, shapes and bytes, as hexadecimal digits."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def unordered_digest(split: Split) -> str:
    """Return a digest of a split that no order of its examples changes: SHA-256 of the sorted ones of all examples."""
    labels = split.labels.astype(np.uint8)[:, None]
    rows = np.concatenate([labels, split.images.reshape(len(labels), -1)], axis=1)
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(row).digest() for row in rows))).hexdigest()


def content_of(name: str, fingerprint: str, verified: str, train: Split, test: Split) -> Content:
    """Say whether a data set's content is that of its name: in the official order, in another one, or not at all.

    verified: the fingerprint of what came from files with the published md5 sums; "" where none did.
    """
    if verified and fingerprint == verified:
        return "official"
    known = KNOWN.get(name)
    if known is None:
        return "unknown"
    # Labels of another type are the same labels: checksums are of int32.
    train, test = (Split(split.images, split.labels.astype(np.int32)) for split in (train, test))
    if fingerprint == known.fingerprint or digest([*train, *test]) == known.fingerprint:
        return "official"
    # The small split first: it tells most of what is something else.
    shuffled = unordered_digest(test) == known.test and unordered_digest(train) == known.train
    return "shuffled" if shuffled else "unknown"


def describe_files(parts: dict[str, Split]) -> str:
    """Return which of CIFAR-10's files, by name and without an ending, are not the official ones, in a few words."""
    by_digest = {value: name for name, value in CIFAR10_FILES.items()}
    found = {name: digest(list(split)) for name, split in parts.items()}
    wrong = []
    for name, value in found.items():
        if value != CIFAR10_FILES[name]:
            other = by_digest.get(value)
            wrong.append(f"{name} is the official {other}" if other else f"{name} is not the official one")
    return ", ".join(wrong)
