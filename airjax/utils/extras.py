"""Packages that only some commands need: what is missing is named together with what to install."""

import importlib
from typing import Any


class MissingExtraError(ImportError):
    """A package of one of airjax's extras that cannot be imported; the message names the extra."""


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Import a module that an extra of airjax installs, for a purpose such as "a table". Raises MissingExtraError."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{purpose} needs {package}, which cannot be imported ({error}): pip install 'airjax[{extra}]'"
        ) from error
