"""What a fresh process does until its first step: one line of JSON. benchmarks.startup starts it.

airjax is imported inside, because that is on the clock. PyTorch's clock stands still while the rest is imported.
"""

import json
import sys
import time


def main(arguments: list[str]) -> int:
    """Arguments: arm, recipe as JSON, device. Prints the seconds of each part and the peak memory; returns 0."""
    arm, recipe, device = arguments
    start = time.perf_counter()
    if arm == "airjax":
        import airjax  # noqa: F401
    else:
        import torch  # noqa: F401
    imported = time.perf_counter() - start

    from airjax.recipe import Recipe
    from benchmarks.speed import make_noise
    from benchmarks.work import make_answer
    from parity.timing import Work, host_peak_bytes

    method = Recipe.from_dict(json.loads(recipe))
    work = Work("step", arm, method, make_noise(method), device, steps=1)  # pyright: ignore[reportArgumentType]
    start = time.perf_counter()
    answer = make_answer(work)
    prepared = time.perf_counter() - start
    start = time.perf_counter()
    answer(0)
    seconds = {"import": imported, "prepare": prepared, "first steps": time.perf_counter() - start}
    print(json.dumps({"seconds": seconds, "peak_bytes": host_peak_bytes()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
