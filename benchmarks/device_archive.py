"""What leaves a device: one compressed archive, replaced atomically, and the way of its lines into our results."""

import io
import json
import os
import tarfile
from collections import Counter
from pathlib import Path

CACHES = "caches"
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

    Raises ArchiveError where it is required and missing.
    """
    work.mkdir(parents=True, exist_ok=True)
    if (work / "parts.jsonl").exists():
        return False
    if not archive.exists():
        if required:
            raise ArchiveError(f"--resume is {archive}, which does not exist")
        return False
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    return True


def keep_lines(archive: Path, results: Path) -> Counter[str]:
    """Append an archive's lines to the files of results that lack them. Returns how many, by file.

    The single timed blocks stay in the archive: they are in the lines' `seconds`, too.
    """
    added: Counter[str] = Counter()
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            path = Path(member.name)
            stream = packed.extractfile(member)
            if path.parts[0] != "lines" or path.suffix != ".jsonl" or path.name == "blocks.jsonl" or stream is None:
                continue
            file = results / path.name
            there = set(file.read_bytes().splitlines()) if file.exists() else set()
            for line in io.BytesIO(stream.read()).read().splitlines():
                if line not in there and is_whole(line):
                    with file.open("ab") as output:
                        output.write(line + b"\n")
                    added[path.name] += 1
    return added


def is_whole(line: bytes) -> bool:
    """Say whether a line is a record, and not what a kill left of one."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
