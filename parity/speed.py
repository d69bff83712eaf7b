"""Timed work in PyTorch: our reference, eager or through torch.compile, and the released package."""

import functools
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from parity.reference import (
    CompileMode,
    advance,
    evaluate,
    forward_of,
    start_network,
    start_proxy_network,
    start_training,
    train,
)
from parity.timing import (
    AUTOCAST,
    COPY_BYTES,
    MATMUL_SIZE,
    Facts,
    Prepared,
    TimedPhase,
    TimedWork,
    fastest_call,
    host_peak_bytes,
    rate_in_bfloat16,
    require_precision,
    timed_phases,
)
from parity.torch_draws import TensorDraws, sample_draws
from parity.torch_images import augment_epoch, prepare_images
from parity.torch_network import dtype_of

COMPILED, PACKAGE = ("compiled", "autocast-compiled"), ("airbench", "airbench-compiled")
MODES: dict[str, CompileMode] = {"cpu": "default", "cuda": "max-autotune"}  # the strongest of each device


def start_torch(device: str) -> None:
    """Use all cores, and cuDNN's own choice of its fastest convolutions, as the released scripts have it."""
    import os

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    torch.backends.cudnn.benchmark = device == "cuda"


def prepare(work: TimedWork) -> Prepared:
    """Everything before the first block. Raises ValueError for what an implementation cannot do."""
    require_precision(work)
    start_torch(work.device)
    if work.implementation in PACKAGE:
        return _prepare_airbench(work)
    mode = _mode_of(work)
    if work.implementation in AUTOCAST:
        work = work._replace(recipe=work.recipe.override(precision="float32"))  # of the weights
    match work.task:
        case "step":
            return _prepare_step(work, mode)
        case "run":
            return _prepare_run(work, mode)
        case "evaluate":
            return _prepare_evaluate(work, mode)
        case "augment":
            return _prepare_augment(work)


def prepare_first_step(work: TimedWork) -> Callable[[], None]:
    """Make a training up to its first step, and return what takes that.

    Nothing is compiled before the step: torch.compile then compiles what it needs, which is the network of the first
    phase, forward and backward. Raises ValueError as `prepare` does.
    """
    start_torch(work.device)
    mode, generator = _mode_of(work), torch.Generator(work.device).manual_seed(0)
    network = start_network(work.recipe, _images(work), generator)
    steps = _make_steps(work, network, network if mode is None else torch.compile(network, mode=mode), generator)
    first = timed_phases(work.recipe, 1)[0]

    def take() -> None:
        _seconds(work.device, lambda: steps(first))  # which waits for the device

    return take


def facts(work: TimedWork, prepared: Prepared) -> Facts:
    """Return what to tell after the last block."""
    peak = peak_bytes(work.device)
    precision = precision_of(work)
    size, half = MATMUL_SIZE[work.device], rate_in_bfloat16(work.device, precision)
    dtype = torch.bfloat16 if half else torch.float32
    a, b = (torch.rand(size, size, dtype=dtype, device=work.device) for _ in range(2))
    source = torch.zeros(COPY_BYTES[work.device] // 4, device=work.device)
    target = torch.empty_like(source)
    seconds_of = functools.partial(_seconds, work.device)
    matmul = fastest_call(work.device, seconds_of, lambda: a @ b)
    copy = fastest_call(work.device, seconds_of, lambda: torch.add(source, 1, out=target))
    rates = 2 * size**3 / matmul, 2 * COPY_BYTES[work.device] / copy
    return Facts(prepared.compile_seconds, peak, None, *rates, precision)


def precision_of(work: TimedWork) -> str:
    """Return the precision that an implementation computes in."""
    if work.implementation in AUTOCAST:
        return "bfloat16"
    if work.implementation in PACKAGE:
        from parity.upstream_trainer import package_dtype

        dtype = package_dtype(work.recipe, work.device)
    else:
        dtype = dtype_of(work.recipe, work.device)
    return str(dtype).removeprefix("torch.")


def peak_bytes(device: str) -> int:
    """Largest memory of this process so far: of its device, or on a CPU of the process."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else host_peak_bytes()


def _prepare_step(work: TimedWork, mode: CompileMode | None) -> Prepared:
    generator = torch.Generator(work.device).manual_seed(0)
    network = start_network(work.recipe, _images(work), generator)
    forward, compile_seconds = _forward(work, network, mode)
    steps = _make_steps(work, network, forward, generator)

    def block(_: int) -> dict[str, float]:
        network.train()
        return {
            phase.name: _seconds(work.device, lambda phase=phase: steps(phase)) / phase.steps
            for phase in timed_phases(work.recipe, work.steps)
        }

    return Prepared(compile_seconds, block)


def _make_steps(
    work: TimedWork, network: nn.Module, forward: Callable[[Tensor], Tensor], generator: torch.Generator
) -> Callable[[TimedPhase], None]:
    # What takes the first steps of a phase, with the draws of the generator.
    recipe, images = work.recipe, _images(work)
    proxy, draws = start_proxy_network(recipe, images, generator), sample_draws(recipe, generator)
    training = start_training(recipe, network, forward, proxy)
    prepared = prepare_images(recipe, images, draws.flips, dtype_of(recipe, work.device))
    labels = torch.as_tensor(work.data.train_labels.astype(np.int64), device=work.device)

    def steps(phase: TimedPhase) -> None:
        for step in range(phase.first, phase.first + phase.steps):
            epoch, position = divmod(step, recipe.steps_per_epoch)
            chosen = draws.order[epoch, position * recipe.batch_size :][: recipe.batch_size]
            batch = augment_epoch(recipe, prepared[chosen], draws_of(draws, epoch, chosen), 0)
            advance(recipe, training, step, batch, labels[chosen])

    return steps


def _prepare_run(work: TimedWork, mode: CompileMode | None) -> Prepared:
    # The first compilation is the long one; train repeats it off the clock, where it finds everything compiled.
    network = start_network(work.recipe, _images(work), torch.Generator(work.device).manual_seed(0))
    _, compile_seconds = _forward(work, network, mode)

    def block(number: int) -> dict[str, float]:
        autocast = work.implementation in AUTOCAST
        how = {"device": work.device, "compile_mode": mode, "autocast": autocast}
        return train(work.recipe, work.data, seed=number, **how).seconds

    return Prepared(compile_seconds, block)


def _prepare_evaluate(work: TimedWork, mode: CompileMode | None) -> Prepared:
    recipe, dtype = work.recipe, dtype_of(work.recipe, work.device)
    network = start_network(recipe, _images(work), torch.Generator(work.device).manual_seed(0))
    forward, compile_seconds = _forward(work, network, mode)
    images = torch.as_tensor(work.data.test_images, device=work.device)

    def block(_: int) -> dict[str, float]:
        return {
            "evaluate": _seconds(work.device, lambda: evaluate(forward, images, recipe.evaluation, dtype, work.device))
        }

    return Prepared(compile_seconds, block)


def _prepare_augment(work: TimedWork) -> Prepared:
    recipe, compiled = work.recipe, work.implementation in COMPILED
    draws = sample_draws(recipe, torch.Generator(work.device).manual_seed(0))
    prepared = prepare_images(recipe, _images(work), draws.flips, dtype_of(recipe, work.device))
    augmented = torch.compile(augment_epoch, mode=MODES[work.device]) if compiled else augment_epoch

    def epoch() -> list[Tensor]:
        images = augmented(recipe, prepared, draws, 0)
        chosen = draws.order[0][: recipe.steps_per_epoch * recipe.batch_size]
        return [images[part] for part in chosen.split(recipe.batch_size)]

    compile_seconds = _seconds(work.device, epoch) if compiled else 0.0
    return Prepared(compile_seconds, lambda _: {"augment": _seconds(work.device, epoch)})


def _prepare_airbench(work: TimedWork) -> Prepared:
    from parity.upstream_compiled import CompiledTrainer
    from parity.upstream_trainer import Trainer

    if work.task != "run":
        raise ValueError(
            f"{work.implementation} is a whole training and has no {work.task} of its own; compare it with `run`"
        )
    if work.implementation == "airbench-compiled":
        start = time.perf_counter()
        compiled = CompiledTrainer(work.recipe, work.data, work.device)
        compiled.train(0)
        return Prepared(time.perf_counter() - start, lambda number: compiled.train(number)[1])
    package = Trainer(work.recipe, work.data, work.device)
    return Prepared(0.0, lambda number: package.train(number)[1])


def draws_of(draws: TensorDraws, epoch: int, chosen: Tensor) -> TensorDraws:
    """Return the draws of the examples chosen [B] in one epoch, which becomes epoch 0."""
    by_epoch = {name: getattr(draws, name) for name in ("mirrors", "shifts", "corners", "jitter")}
    own = {name: None if array is None else array[epoch : epoch + 1, chosen] for name, array in by_epoch.items()}
    return draws._replace(flips=draws.flips[chosen], **own)


def _mode_of(work: TimedWork) -> CompileMode | None:
    # Of torch.compile; None: eager.
    mode = MODES[work.device] if work.implementation in COMPILED else None
    if mode is not None and work.recipe.selection is not None:
        raise ValueError("the proxy of a recipe that selects is not compiled; compare with the implementation eager")
    return mode


def _forward(work: TimedWork, network: nn.Module, mode: CompileMode | None) -> tuple[Callable[[Tensor], Tensor], float]:
    start, autocast = time.perf_counter(), work.implementation in AUTOCAST
    forward = forward_of(work.recipe, network, work.device, mode, autocast=autocast)
    return forward, 0.0 if mode is None else time.perf_counter() - start


def _images(work: TimedWork) -> Tensor:
    return torch.as_tensor(work.data.train_images, device=work.device)


def _seconds(device: str, function: Callable[[], object]) -> float:
    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    start = now()
    function()
    return now() - start
