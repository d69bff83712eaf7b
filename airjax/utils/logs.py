"""Keeps XLA's logs readable. It is imported before jax, because XLA looks at the environment once."""

import os
import sys
from pathlib import Path


def silence_cache_warnings() -> None:
    """Keep XLA from filling pages, for every program that it finds on disk, with processor features that are none.

    It holds for a process that has not started XLA yet, and for children. What TF_CPP_MIN_LOG_LEVEL says already stays.
    """
    # Importing jax sets 1, which does not hide them: they are logged as errors.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


# While a package is imported for one of its modules that is run, "-m" is the name of the program; for the installed
# command it is that command's path. As a library airjax hides nothing, and keeps nothing on disk that XLA would
# complain about.
if sys.argv and (sys.argv[0] == "-m" or Path(sys.argv[0]).stem == "airjax"):
    silence_cache_warnings()
