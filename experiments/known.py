"""What the plans of the CPU scale assume, from measurements that were made before them."""

import json

from experiments.experiment import HERE

_STUDIES = HERE.parent / "benchmarks" / "results" / "studies.jsonl"


def _mini_sd() -> float:
    # The upper end of the interval, so that the plans are large enough in all likelihood.
    lines = [json.loads(line) for line in _STUDIES.read_text().splitlines()]
    newest = [line for line in lines if line["study"] == "variance" and line["content"] == "official"][-1]
    return round(newest["sd_interval"][1], 2)


MINI_SD = _mini_sd()  # of mini's accuracy, percentage points: upper 95% bound, n=500 (docs/studies/variance.md)
