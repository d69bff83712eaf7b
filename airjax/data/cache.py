"""The user's cache of parsed data sets: one checksummed file each, written whole or not at all."""

import os
import warnings
from pathlib import Path

import numpy as np

from airjax.data.dataset import Dataset, digest
from airjax.records import write_atomically

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def cache_folder() -> Path:
    """AIRJAX_CACHE, or airjax/ in the user's cache folder."""
    if named := os.environ.get("AIRJAX_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airjax"


def save_cached(file: Path, dataset: Dataset) -> None:
    """Write a data set to the cache. Warns and goes on where the cache cannot be written."""
    from safetensors.numpy import save

    arrays = {name: getattr(dataset, name) for name in ARRAYS}
    content = save(arrays, {"name": dataset.name, "sha256": dataset.fingerprint})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content)
    except OSError as error:
        warnings.warn(
            f"{file}: cannot write the cache ({error.strerror or error}); parsing again next time", stacklevel=2
        )


def load_cached(file: Path) -> Dataset | None:
    """A data set from the cache; None where it is not there. A damaged file is warned about, and removed."""
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        return None
    try:
        with safe_open(file, framework="numpy") as content:
            metadata = content.metadata() or {}
            arrays = [np.array(content.get_tensor(name)) for name in ARRAYS]
    except (SafetensorError, OSError) as error:
        return _damaged(file, str(error))
    found = digest(arrays)
    if found != metadata.get("sha256"):
        return _damaged(file, f"sha256 is {found}, expected {metadata.get('sha256')}")
    return Dataset(metadata["name"], *arrays)  # pyright: ignore[reportArgumentType]


def _damaged(file: Path, reason: str) -> None:
    warnings.warn(f"{file}: the cached data set is damaged ({reason}); reading it from its source again", stacklevel=3)
    file.unlink(missing_ok=True)
