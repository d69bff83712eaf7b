"""What the plans of the CPU scale assume of mini: from a study of 500 networks, and from the pilot."""

import errno
import math
from typing import Any

from airjax.utils.records import read_lines
from experiments.experiment import HERE

STUDIES = HERE.parent / "benchmarks" / "results" / "studies.jsonl"
PILOT = HERE / "results" / "pilot.jsonl"


def study_sd() -> float:
    """Return the standard deviation of mini's accuracy after 3 epochs, points: the upper end of its 95% interval."""
    lines = [line for line in read_lines(STUDIES) if line["study"] == "variance" and line["content"] == "official"]
    return round(float(lines[-1]["sd_interval"][1]), 2)


def pilot_sd(epochs: float) -> float:
    """Return the standard deviation of mini's accuracy after so many epochs in the pilot, points, up to a tenth.

    Raises FileNotFoundError without a result of the pilot.
    """
    lines = [line for line in read_lines(PILOT) if "precision" not in line]
    if not lines:
        remedy = "No such file; python -m airjax experiments pilot --keep writes it"
        raise FileNotFoundError(errno.ENOENT, remedy, str(PILOT))
    series: dict[str, Any] = lines[-1]["series"]
    return math.ceil(10 * series["sd"][series["epochs"].index(epochs)]) / 10
