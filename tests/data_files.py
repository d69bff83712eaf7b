"""Files in the official formats of data sets, made by tests: folders, archives and what may be wrong with them."""

import contextlib
import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534  # user who owns nothing


@contextlib.contextmanager
def forbidden(folder: Path) -> Iterator[None]:
    """A folder into which this process may not look, whoever runs the tests."""
    user, mode = os.geteuid(), folder.stat().st_mode
    folder.chmod(0)
    if user == 0:  # may look into everything
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write_archive(file: Path, folder: str, files: dict[str, bytes]) -> Path:
    content = tar_of({f"{folder}/{name}": content for name, content in files.items()})
    file.write_bytes(gzip.compress(content, compresslevel=1, mtime=0))
    return file


def write_torch(file: Path, table: object) -> Path:
    """Write an object of plain arrays as torch.save does: a zip with one pickle in it."""
    members = {"data.pkl": pickle.dumps(table, protocol=2), "byteorder": b"little", "version": b"3\n"}
    file.write_bytes(zip_of({f"{file.stem}/{name}": content for name, content in members.items()}))
    return file


class Hostile:
    """Unpickling it would create a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {self.file}",))
