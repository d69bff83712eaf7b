"""A folder with one trained network in it, as model hubs hold them: config.json, model.safetensors and README.md.

config.json says what the safetensors file says of itself, for people and for files that another tool has written anew
without their metadata.
"""

import json
import os
from pathlib import Path
from typing import Any

from airjax.utils.records import write_atomically

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


class FolderFaultError(ValueError):
    """A folder from which no network can be chosen; the message says why."""


def find_weights(folder: str | os.PathLike[str]) -> Path:
    """Return the file of the folder's network: model.safetensors, or the only one.

    Raises FolderFaultError where there is none or a choice.
    """
    place = Path(folder)
    if (place / WEIGHTS).exists():
        return place / WEIGHTS
    files = sorted(place.glob("*.safetensors"))
    if len(files) == 1:
        return files[0]
    if not files:
        raise FolderFaultError(f"{folder} is a folder without a .safetensors file; airjax train --out DIR writes them")
    names = ", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else "")
    raise FolderFaultError(f"{folder} is a folder with {len(files)} networks ({names}); name one of the files")


def read_config(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the folder's config.json in the form of a safetensors file's metadata; none of it where there is no file.

    Raises FolderFaultError for a file that is no JSON object.
    """
    file = Path(folder) / CONFIG
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FolderFaultError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise FolderFaultError(f"{file} is not a JSON object")
    return {"airjax": json.dumps(config)} if "format" in config else {}


def write_beside_weights(folder: Path, config: dict[str, Any], card: str) -> None:
    """Write config.json and README.md, atomically. Raises OSError."""
    write_atomically(folder / CONFIG, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
    # The name of a data set may be that of a folder, which need not be text.
    write_atomically(folder / CARD, card.encode(errors="backslashreplace"))
