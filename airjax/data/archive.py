"""Read the members of an archive in memory: tar, plain or compressed, and zip. Nothing is written to disk."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from airjax.data.dataset import DataError

KINDS = ".tar, .tar.gz, .tar.bz2, .tar.xz, .zip"
LIMIT = 1 << 30  # bytes that an archive may unpack to: CIFAR-10 is a sixth of it
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, RuntimeError)
_COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def read_members(content: bytes, source: str, wanted: set[str]) -> dict[PurePosixPath, bytes]:
    """Return the members of an archive whose own name is wanted, by path; of several with one path, the last.

    What a Mac adds (`__MACOSX/`) is left out. Raises DataError, naming the source, for a damaged archive, one of
    another kind, and one that unpacks to more than LIMIT bytes.
    """
    try:
        if content[:2] == b"PK":
            return dict(_zip_members(content, source, wanted))
        return dict(_tar_members(_decompress(content, source), wanted))
    except _DAMAGED as error:
        raise DataError(
            f"{source}: truncated or damaged archive, or not one of the kinds that are read ({KINDS}): {error}. If it "
            "is one of them, fetch it again"
        ) from error


def _zip_members(content: bytes, source: str, wanted: set[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if names and all(name.endswith(".npy") for name in names):
            raise DataError(
                f"{source} is an .npz of arrays ({', '.join(names[:6])}), which is not CIFAR-10; name it with "
                "--data (docs/data.md), or name the official archive or its folder"
            )
        left = LIMIT
        for member in archive.infolist():
            path = PurePosixPath(member.filename)
            if _counts(path, wanted) and not member.is_dir():
                with archive.open(member) as file:
                    found = _read(file, source, left)
                left -= len(found)
                yield path, found


def _tar_members(content: bytes, wanted: set[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if _counts(path, wanted) and member.isfile() and (file := archive.extractfile(member)) is not None:
                yield path, file.read()


def _decompress(content: bytes, source: str) -> bytes:
    # To the end of the file, where its checksum is: a tar reader stops before it.
    for magic, open_file in _COMPRESSED.items():
        if content.startswith(magic):
            with open_file(io.BytesIO(content)) as file:
                return _read(file, source)
    return content


def _read(file: IO[bytes], source: str, limit: int = LIMIT) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{source} unpacks to more than {LIMIT >> 30} GiB, so it is not CIFAR-10")
    return content


def _counts(path: PurePosixPath, wanted: set[str]) -> bool:
    return path.name in wanted and "__MACOSX" not in path.parts
