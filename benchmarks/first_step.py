"""What a fresh process does until its first step is taken: one line of JSON. benchmarks.startup starts it.

airjax is imported inside, because that is on the clock; the clock stands still while the benchmark is imported.
"""

import contextlib
import json
import sys
import time
from typing import NoReturn


class FirstStepError(Exception):
    """Ends the training."""


def main(arguments: list[str]) -> int:
    """Print the seconds of each part and the peak memory; return 0. Arguments: implementation, recipe as JSON, device.

    airjax's part after the import is `airjax.training.loop.train` up to its first report of a step; that of PyTorch
    is the preparation of our reference, and its step, with nothing compiled but what that needs. airjax also says what
    convolved.
    """
    implementation, recipe, device = arguments
    start = time.perf_counter()
    if implementation == "airjax":
        import airjax  # noqa: F401
    else:
        import torch  # noqa: F401
    imported = time.perf_counter() - start

    from airjax.recipes.recipe import Recipe
    from airjax.utils.records import dump_json
    from benchmarks.speed import make_noise
    from parity.timing import TimedWork, host_peak_bytes

    method = Recipe.from_dict(json.loads(recipe))
    data, told = make_noise(method), {}
    if implementation == "airjax":
        from airjax.training.loop import train
        from parity.environment import describe_computation, start_jax

        def stop(*_: object) -> NoReturn:
            raise FirstStepError

        start = time.perf_counter()
        start_jax(device)  # pyright: ignore[reportArgumentType]
        with contextlib.suppress(FirstStepError):
            train(method, data, 0, on_step=stop)
        seconds, told = time.perf_counter() - start, describe_computation(method)
    else:
        from parity.speed import prepare_first_step

        start = time.perf_counter()
        prepare_first_step(TimedWork("step", implementation, method, data, device, steps=1))()  # pyright: ignore[reportArgumentType]
        seconds = time.perf_counter() - start
    told |= {"seconds": {"import": imported, "first step": seconds}, "peak_bytes": host_peak_bytes()}
    print(dump_json(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
