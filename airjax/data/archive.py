"""Read the members of an archive, tar, plain or compressed, and zip. Nothing is written to disk."""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from airjax.data.dataset import DataError

TARS = ".tar, .tar.gz, .tar.bz2, .tar.xz"
KINDS = f"{TARS}, .zip"
LIMIT = 1 << 30  # bytes that an archive read in memory may unpack to: CIFAR-10 is a sixth of it
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, RuntimeError),
    ValueError,  # zipfile's, of an offset or a name that cannot be
)
_COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def read_members(content: bytes, source: str, title: str, wanted: set[str]) -> dict[PurePosixPath, bytes]:
    """Return the members of an archive whose own name is wanted, by path; of several with one path, the last.

    What a Mac adds (`__MACOSX/`) is left out. Raises DataError, naming the source, for a damaged archive, one of
    another kind, and one that unpacks to more than LIMIT bytes; title is the data set's that it should hold.
    """
    with _said_to_be_damaged(source):
        if content[:2] == b"PK":
            return dict(_zip_members(content, source, title, wanted))
        return dict(_tar_members(_decompress(content, source, title), source, title, wanted))


def stream_members(
    file: Path, title: str, is_wanted: Callable[[PurePosixPath], bool], limit: int
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the wanted files of a tar archive with their paths, in its order, holding one of them at a time.

    Links, devices and what a Mac adds are left out. The archive is read to its end, where its checksum is. Raises
    DataError, naming the file, for a damaged archive, and for wanted files of more than limit bytes together.
    """
    left = limit
    with _said_to_be_damaged(str(file), TARS), _open_stream(file) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in _forward(archive):
                path = PurePosixPath(member.name)
                if not member.isfile() or "__MACOSX" in path.parts or not is_wanted(path):
                    continue
                left -= member.size
                if left < 0:
                    raise DataError(f"{file} unpacks to more than {limit >> 20} MiB, so it is not {title}")
                if (found := archive.extractfile(member)) is not None:
                    yield path, found.read()
        while stream.read(1 << 20):
            pass


def _open_stream(file: Path) -> IO[bytes]:
    with file.open("rb") as start:
        magic = start.read(6)
    open_file = next((opener for known, opener in _COMPRESSED.items() if magic.startswith(known)), None)
    return file.open("rb") if open_file is None else open_file(file)


@contextlib.contextmanager
def _said_to_be_damaged(source: str, kinds: str = KINDS) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise DataError(
            f"{source}: truncated or damaged archive, or not one of the kinds that are read ({kinds}): {error}. If it "
            "is one of them, fetch it again"
        ) from error


def _zip_members(content: bytes, source: str, title: str, wanted: set[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if names and all(name.endswith(".npy") for name in names):
            raise DataError(
                f"{source} is an .npz of arrays ({', '.join(names[:6])}), which is not {title}; name it with "
                "--data (docs/data.md), or name the official archive or its folder"
            )
        left = LIMIT
        for member in archive.infolist():
            path = PurePosixPath(member.filename)
            if _counts(path, wanted) and not member.is_dir():
                with archive.open(member) as file:
                    found = _read(file, source, title, left)
                left -= len(found)
                yield path, found


def _tar_members(content: bytes, source: str, title: str, wanted: set[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
    left = LIMIT  # of a sparse member the archive has only a small part of what it unpacks to
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in _forward(archive):
            path = PurePosixPath(member.name)
            if _counts(path, wanted) and member.isfile() and (file := archive.extractfile(member)) is not None:
                left -= member.size
                if left < 0:
                    raise _too_large(source, title)
                yield path, file.read()


def _forward(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    # A member of negative size leads back to an earlier one, for ever.
    last = -1
    for member in archive:
        if member.size < 0 or member.offset <= last:
            raise tarfile.ReadError(f"the size of {member.name} leads back")
        last = member.offset
        yield member


def _decompress(content: bytes, source: str, title: str) -> bytes:
    # To the end of the file, where its checksum is: a tar reader stops before it.
    for magic, open_file in _COMPRESSED.items():
        if content.startswith(magic):
            with open_file(io.BytesIO(content)) as file:
                return _read(file, source, title)
    return content


def _read(file: IO[bytes], source: str, title: str, limit: int = LIMIT) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(source, title)
    return content


def _too_large(source: str, title: str) -> DataError:
    return DataError(f"{source} unpacks to more than {LIMIT >> 30} GiB, so it is not {title}")


def _counts(path: PurePosixPath, wanted: set[str]) -> bool:
    return path.name in wanted and "__MACOSX" not in path.parts
