"""What leaves a device: one compressed archive, replaced atomically, and the way of its lines into our results."""

import contextlib
import gzip
import json
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

CACHES, PARTS = "caches", "parts.jsonl"
RECORDS, CHOICES = (".jsonl", ".json", ".log"), ".txtpb"  # of autotuning


class ArchiveError(ValueError):
    """An archive that is missing; the message names it."""


def write_archive(work: Path, archive: Path, limit: int) -> None:
    """Pack a folder into an archive, which is the old or the new one, whole, at any moment.

    What is measured goes first and always: its records and logs, and the choices of autotuning. Then as far as `limit`
    bytes reach: the caches' other files, and what else the parts wrote, such as networks; each the newest first.
    """
    files = [file for file in sorted(work.rglob("*")) if file.is_file() and not file.is_symlink()]
    ranks = {file: _rank(file.relative_to(work)) for file in files}
    partial = archive.with_name(archive.name + ".part")
    with partial.open("wb") as stream:
        with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as packed:
            for file in sorted(files, key=lambda file: (ranks[file], -file.stat().st_mtime)):
                # At worst a file does not compress; what is not written yet is a buffer's worth.
                fits = stream.tell() + file.stat().st_size + 2**16 <= limit
                if fits or ranks[file] == 0:
                    packed.add(file, file.relative_to(work))
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(archive)


def _rank(file: Path) -> int:
    # 0: what is measured, 1: caches, 2: what else the parts wrote.
    if file.parts[0] == CACHES:
        return 0 if file.suffix == CHOICES else 1
    return 0 if file.suffix in RECORDS else 2


def restore(archive: Path, work: Path, *, required: bool) -> bool:
    """Unpack an archive into a folder in which nothing is recorded yet. Returns whether it did.

    Raises ArchiveError where it is required and missing, cannot be read, or has parts that the folder, in which
    something is recorded, has not: the archive that is written next would replace them.
    """
    work.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        if required:
            raise ArchiveError(f"--resume is {archive}, which does not exist")
        return False
    recorded = work / PARTS
    with opened(archive) as packed:
        if not recorded.exists():
            packed.extractall(work, filter="data")
            return True
        found = packed.extractfile(PARTS) if PARTS in packed.getnames() else None
        lines = found.read().splitlines() if found else []
    if set(lines) - set(recorded.read_bytes().splitlines()):
        raise ArchiveError(f"{archive} has parts that {work} has not; give another --work, or another --out")
    return False


@contextlib.contextmanager
def opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """Read an archive. Raises ArchiveError where it is damaged or cut short."""
    try:
        with tarfile.open(archive) as packed:
            yield packed
    except (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
        raise ArchiveError(f"{archive} cannot be read ({error}); it may be cut short") from error


def keep_lines(archive: Path, results: Path) -> Counter[str]:
    """Append an archive's lines to the files of results that lack them. Returns how many, by file.

    The single timed blocks stay in the archive: they are in the lines' `seconds`, too.
    """
    added: Counter[str] = Counter()
    found: dict[str, list[bytes]] = {}
    with opened(archive) as packed:
        for member in packed.getmembers():
            path, stream = Path(member.name), packed.extractfile(member)
            if path.parts[0] == "lines" and path.suffix == ".jsonl" and path.name != "blocks.jsonl" and stream:
                found[path.name] = [line for line in stream.read().splitlines() if is_whole(line)]
    for name, lines in found.items():
        file = results / name
        there = set(file.read_bytes().splitlines()) if file.exists() else set()
        for line in lines:
            if line not in there:
                with file.open("ab") as output:
                    output.write(line + b"\n")
                added[name] += 1
    return added


def is_whole(line: bytes) -> bool:
    """Say whether a line is a record, and not what a kill left of one."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
