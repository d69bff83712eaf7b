"""A split in its prepared form: every image resized once, in one file that is mapped into memory.

Raw images need no decoder while a network trains, and their boxes can be cut and resized on the device; JPEG ones take
a fraction of the space. Records follow each other in the order of the split; a training reads them by their index.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import Int, UInt8

from airjax.data.content import digest
from airjax.data.dataset import DataError
from airjax.data.image_files import ImageError
from airjax.data.place import expand
from airjax.stream.decode import EXTRA, PURPOSE
from airjax.stream.images import Images, Source, open_images
from airjax.stream.mapped import header_of, map_arrays
from airjax.utils.extras import import_extra
from airjax.utils.fields import check_fields
from airjax.utils.records import sync_folder
from airjax.utils.units import format_bytes

HEADER = 4096  # bytes, and more for what is said of it; the rest is blanks: the lengths are known last
BYTES_BEFORE = 8 + 2 * 4 + 4  # of each image before the records: where its record ends, its size, its label
Kind = Literal["raw", "jpeg"]
AT_ONCE = 256  # images that are prepared side by side before they are written


@dataclass(frozen=True)
class Form:
    """How images are kept."""

    longest: int = 400
    """Longer side in pixels that an image is made smaller to, by averaging areas; smaller images stay as they are."""
    kind: Kind = "jpeg"
    """Bytes of pixels, or JPEG."""
    quality: int = 90
    """Of JPEG, with colours at full resolution."""

    def __post_init__(self) -> None:
        check_fields(
            self,
            {
                "longest": (lambda side: 1 <= side <= 65_535, "from 1 to 65535 pixels"),
                "quality": (lambda quality: 1 <= quality <= 100, "from 1 to 100"),
            },
        )

    def fit(self, sizes: Int[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
        """Return the heights and widths that images of these have when they are kept."""
        factor = np.minimum(1.0, self.longest / sizes.max(axis=1, keepdims=True))
        return np.maximum(1, np.rint(sizes * factor)).astype(np.int32)


def prepare(
    source: Source,
    file: str | Path,
    form: Form | None = None,
    contents: dict[str, Any] | None = None,
    on_images: Callable[[int], None] | None = None,
) -> Source:
    """Write a split in its prepared form, whole or not at all, and return where it is.

    What is there already is replaced. contents, for JSON, is what `contents_of` returns of it; on_images is called with
    how many images are done. Raises DataError for an image that cannot be decoded, where the file cannot be
    written, and where there is no space for it: before anything is written if that is known.
    """
    form, target = form or Form(), expand(file).absolute()
    images = open_images(source)
    sizes = form.fit(images.sizes)
    temporary = part_of(target)
    try:
        temporary.unlink(missing_ok=True)
        require_space(target, bytes_needed(images, form))
        with temporary.open("w+b") as stream:
            sha256 = _write(stream, images, sizes, form, contents or {}, on_images or (lambda count: None))
        temporary.replace(target)
    except OSError as error:
        raise DataError(
            _no_room(target) if _is_full(error) else f"{target} cannot be written: {error.strerror}"
        ) from error
    except ImageError as error:
        raise DataError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)
    return Source(target, sha256)


def part_of(target: Path) -> Path:
    """Return the file that becomes target once it is whole; what a killed process left of it is of no use."""
    return target.with_name(f".{target.name}.part")


def bytes_needed(images: Images, form: Form) -> int:
    """Return how much the pixels of a split take on the disk; 0 for JPEG, of which that is not known before."""
    return 3 * int(form.fit(images.sizes).astype(np.int64).prod(axis=1).sum()) if form.kind == "raw" else 0


def open_prepared(file: str | Path) -> Source:
    """Return where a prepared split is. Raises DataError where the file is missing, cut short or damaged.

    The records' own checksum is left to `verify_prepared`, which reads all of them.
    """
    target = expand(file).absolute()
    arrays, metadata = map_arrays(target)
    if metadata.get("format") != "prepared-1":
        raise DataError(f"{target} is not a prepared split; make it with airjax.stream.prepared.prepare")
    if {"ends", "labels", "sizes", "records"} - set(arrays) or {"records", "sha256", "kind"} - set(metadata):
        raise DataError(f"{target} is damaged: its head lacks what every prepared split has; prepare it again")
    if _digest(arrays["ends"], arrays["labels"], arrays["sizes"], metadata["records"]) != metadata["sha256"]:
        raise DataError(f"{target} is damaged: its checksum is wrong; prepare it again")
    return Source(target, metadata["sha256"])


def contents_of(source: Source) -> dict[str, Any]:
    """Return what was said of a prepared split when it was written. Raises DataError where that is damaged."""
    try:
        return dict(json.loads(map_arrays(source.file)[1].get("contents", "{}")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{source.file} is damaged: what it says of its tree is no JSON; prepare it again") from error


def verify_prepared(source: Source) -> None:
    """Read all records. Raises DataError where their checksum is not the one that was written."""
    arrays, metadata = map_arrays(source.file)
    if hashlib.sha256(arrays["records"].data).hexdigest() != metadata["records"]:
        raise DataError(f"{source.file} is damaged: the checksum of its records is wrong; prepare it again")


def _write(
    stream: IO[bytes],
    images: Images,
    sizes: Int[np.ndarray, "n 2"],
    form: Form,
    contents: dict[str, Any],
    on_images: Callable[[int], None],
) -> str:
    # Ends, sizes and labels are before the records; the ends are known last.
    said = json.dumps(contents)
    room = HEADER * (1 + (2 * len(said) + HEADER // 2) // HEADER)  # quotes in it are escaped once more
    stream.seek(room + BYTES_BEFORE * len(sizes))
    sha, lengths = hashlib.sha256(), []
    for record in _records(images, sizes, form):
        stream.write(record)
        sha.update(record)
        lengths.append(len(record))
        if len(lengths) % AT_ONCE == 0 or len(lengths) == len(sizes):
            on_images(len(lengths))
    ends, records = np.cumsum(lengths, dtype=np.int64), sha.hexdigest()
    labels = np.ascontiguousarray(images.labels)
    found = _digest(ends, labels, sizes, records)
    metadata = {"format": "prepared-1", "kind": form.kind, "form": json.dumps(form.__dict__), "contents": said}
    kept = {"ends": ends, "sizes": sizes, "labels": labels}
    table = {name: (array.dtype, array.shape) for name, array in kept.items()}
    head = header_of(
        {**table, "records": (np.dtype(np.uint8), (int(ends[-1]),))},
        {**metadata, "records": records, "sha256": found},
        room,
    )
    stream.seek(0)
    stream.write(head + b"".join(array.tobytes() for array in kept.values()))
    stream.flush()
    os.fsync(stream.fileno())
    return found


def _records(images: Images, sizes: Int[np.ndarray, "n 2"], form: Form) -> Iterator[bytes]:
    # Threads are enough: the decoders and OpenCV do their work without Python's lock.
    def record(example: int) -> bytes:
        pixels = _shrink(images.read(example), int(sizes[example, 0]), int(sizes[example, 1]))
        if form.kind == "raw":
            return pixels.tobytes()
        simplejpeg = import_extra("simplejpeg", EXTRA, PURPOSE)
        return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), form.quality, "RGB", "444")

    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        for start in range(0, len(sizes), AT_ONCE):
            yield from pool.map(record, range(start, min(start + AT_ONCE, len(sizes))))


def _shrink(pixels: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
    cv2 = import_extra("cv2", EXTRA, PURPOSE)
    if pixels.shape[:2] == (height, width):
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _digest(ends: np.ndarray, labels: np.ndarray, sizes: np.ndarray, records: str) -> str:
    return hashlib.sha256(f"{digest([ends, labels, sizes])} {records}".encode()).hexdigest()


def require_space(target: Path, needed: int) -> None:
    """Raise DataError where so many bytes are not free beside a file that is to be written."""
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise DataError(f"{_no_room(target)}; it takes {format_bytes(needed)}, and {format_bytes(free)} are free")


def _no_room(target: Path) -> str:
    return f"{target.parent} has no room for {target.name}: take another disk, kind jpeg, or a smaller longest side"


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
