"""CIFAR-10 from a folder, an archive, the cache or the network, as numpy arrays."""

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from airjax.data.cache import cache_folder, load_cached, save_cached
from airjax.data.dataset import DataError, Dataset
from airjax.data.unpickle import load_plain_pickle

RECORD = 1 + 3 * 32 * 32  # bytes of an image in the binary layout: the label, then the red, green and blue planes
BATCH = 10_000  # images in a file
SPLITS = (("train", tuple(f"data_batch_{number}" for number in range(1, 6))), ("test", ("test_batch",)))
FOLDERS = {".bin": "cifar-10-batches-bin", "": "cifar-10-batches-py"}  # by the ending of their files
ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")

WHERE = (
    "Put cifar-10-binary.tar.gz or cifar-10-python.tar.gz, or the folder that either unpacks to, somewhere, and name "
    "the place with --data-dir or AIRJAX_DATA; or use --data builtin, which needs no files"
)


def load_cifar10(data_dir: str | Path | None = None, *, download: bool = True) -> Dataset:
    """CIFAR-10: from data_dir, else from AIRJAX_DATA, else from the user's cache, else from the network.

    Args:
        data_dir: the official binary folder, the official python folder, either archive, or a folder with one of these.
        download: whether to use the network where nothing else is there.

    Raises:
        DataError: not found, not to be downloaded, or damaged. A place that was named is never passed over.
    """
    named = data_dir or os.environ.get("AIRJAX_DATA")
    if named:
        return _load_named(Path(named).expanduser())
    cached = load_cached(_cache_file("official"))
    if cached is not None:
        return cached
    if not download:
        raise DataError(f"CIFAR-10 is not in the cache, {cache_folder()}. {WHERE}")
    from airjax.data.download import download_archive

    dataset = read_archive(download_archive(cache_folder()))
    save_cached(_cache_file("official"), dataset)
    return dataset


def read_folder(folder: Path) -> Dataset:
    """CIFAR-10 from its unpacked folder, binary or python."""
    ending = ".bin" if (folder / "data_batch_1.bin").exists() else ""

    def read(name: str) -> bytes:
        path = folder / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path}: {error.strerror or error}. The folder is incomplete; unpack the archive again"
            ) from error

    return _assemble(read, ending, str(folder))


def read_archive(path: Path) -> Dataset:
    """CIFAR-10 from either official archive, without unpacking it to disk."""
    try:
        # To the end of the file, where its checksum is: a tar reader stops before it.
        content = io.BytesIO(gzip.decompress(path.read_bytes()))
        with tarfile.open(fileobj=content) as archive:
            contents = {
                Path(member.name).name: file.read()
                for member in archive
                if member.isfile() and (file := archive.extractfile(member)) is not None
            }
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged archive ({error}). Delete it and fetch it again") from error
    ending = ".bin" if "data_batch_1.bin" in contents else ""

    def read(name: str) -> bytes:
        if name not in contents:
            raise DataError(f"{path}: has no {name}, so it is not a CIFAR-10 archive")
        return contents[name]

    return _assemble(read, ending, str(path))


def _assemble(read: Callable[[str], bytes], ending: str, source: str) -> Dataset:
    parse = _parse_binary if ending else _parse_python
    arrays = []
    for _, names in SPLITS:
        parts = [parse(read(name + ending), f"{source}: {name}{ending}") for name in names]
        arrays += [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Dataset("cifar10", *arrays)


def _parse_binary(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    if len(content) != BATCH * RECORD:
        raise DataError(f"{name} has {len(content)} bytes, but {BATCH * RECORD} are expected. Unpack the archive again")
    records = np.frombuffer(content, np.uint8).reshape(BATCH, RECORD)
    return _to_images(records[:, 1:]), records[:, 0].astype(np.int32)


def _parse_python(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    batch = load_plain_pickle(content, name)
    try:
        pixels, labels = batch[b"data"], np.array(batch[b"labels"], np.int32)
        fits = pixels.shape == (BATCH, RECORD - 1) and pixels.dtype == np.uint8 and labels.shape == (BATCH,)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{name}: not a CIFAR-10 batch ({error!r}). Unpack the archive again") from error
    if not fits:
        raise DataError(f"{name}: not {BATCH} images of {RECORD - 1} bytes with a label each. Unpack the archive again")
    return _to_images(pixels), labels


def _to_images(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _load_named(place: Path) -> Dataset:
    candidates = [place] + [place / name for name in (*FOLDERS.values(), *ARCHIVES)]
    for found in candidates:
        if found.is_file():
            return _through_cache(found, read_archive, [found])
        files = [path for ending in FOLDERS for path in sorted(found.glob(f"*_batch*{ending}")) if path.is_file()]
        if files:
            return _through_cache(found, read_folder, files)
    if not place.exists():
        raise DataError(f"{place} does not exist. {WHERE}")
    raise DataError(f"{place} holds no CIFAR-10. {WHERE}")


def _through_cache(source: Path, read: Callable[[Path], Dataset], files: list[Path]) -> Dataset:
    # Keyed by what the files look like from outside, so that a changed file is read again.
    status = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    file = _cache_file(hashlib.sha256(repr(status).encode()).hexdigest()[:16])
    cached = load_cached(file)
    if cached is None:
        cached = read(source)
        save_cached(file, cached)
    return cached


def _cache_file(key: str) -> Path:
    return cache_folder() / f"cifar10-{key}.safetensors"
