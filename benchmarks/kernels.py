"""What a GPU's compiler makes of a training step, on a machine without the GPU: its kernels, and what memory they move.

XLA compiles for a device that is only described to it (targets/), as long as its CUDA plugin is installed. Nothing is
run and nothing is timed: the compiled program says which kernels a step consists of and which arrays each one reads and
writes. Where a kernel finds in the cache what the one before it wrote, less goes to memory than is counted here.
"""

import argparse
import functools
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import AbstractDevice, AbstractMesh, SingleDeviceSharding, use_abstract_mesh

from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.backend import resolve_precision
from airjax.training.compile import compiler_options
from airjax.training.environment import describe
from airjax.training.members import STRATEGIES, Strategy
from airjax.training.memory import predicted_bytes
from airjax.training.run import Task, start_run
from airjax.utils.records import dump_json
from airjax.utils.seeds import make_key
from benchmarks.ablation_variants import AS_IT_IS, VARIANTS, Variant, make_variant, undone
from benchmarks.executed import executed_flops, graphs_of, needed_flops
from benchmarks.hlo import ARRAY, step_of
from benchmarks.profile import names_of_operations, part_of
from benchmarks.record import add_output_options, save
from benchmarks.speed import command_line

FILE = "kernels.jsonl"
TARGETS = Path(__file__).parent / "targets"
# Variants that change what is compiled, and that a step of a scan can have.
CHOICES = tuple(
    name
    for name, variant in VARIANTS.items()
    if "gpu" in variant.platforms and variant.driver is None and variant.donate and variant.unroll == 1
)
STEPS = 2  # of the scan whose body is looked at

NO_KERNEL = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}


class CompiledStep(NamedTuple):
    """A program of STEPS steps."""

    text: str
    memory_bytes: int
    thunks: str  # what it executes, as the compiler lists it


class Kernel(NamedTuple):
    """One kernel of a step."""

    name: str
    part: str  # of the step: those of `python -m benchmarks profile`
    read: int  # bytes of its arguments, each counted once
    written: int  # bytes of its results

    @property
    def moved(self) -> int:
        """Bytes that are read and written."""
        return self.read + self.written


def main(arguments: list[str]) -> int:
    """Compile a recipe's step in each variant, print what it is made of, and keep the record. Returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks kernels", description="What a GPU's compiler makes of a training step."
    )
    parser.add_argument("--recipe", default="94", metavar="NAME")
    parser.add_argument("--target", default="h200", help=f"the GPU: {', '.join(known_targets())}")
    parser.add_argument("--variant", action="append", choices=CHOICES, help="only this, besides the step as it is")
    parser.add_argument("--strategy", choices=STRATEGIES, default="sequential", help="how several networks are trained")
    parser.add_argument("--members", type=int, default=1, metavar="K", help="networks at once; one by default")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="of a curriculum; default: the data's own")
    parser.add_argument("--verbose", action="store_true", help="list the kernels of the step as it is")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    recipe = get_recipe(options.recipe)
    check_group(options.strategy, options.members)
    if options.image_size is not None and options.image_size not in {phase.image_size for phase in recipe.phases()}:
        parser.error(f"image-size is {options.image_size}, but {options.recipe} has no phase of such images")
    name, device = open_target(options.target)
    rows: dict[str, dict[str, Any]] = {}
    for choice in dict.fromkeys((AS_IT_IS, *(options.variant or choices_of(options.strategy, recipe)))):
        step = compile_step(recipe, VARIANTS[choice], device, options.strategy, options.members, options.image_size)
        kernels = list(kernels_of(step.text, recipe))
        if options.verbose and choice == AS_IT_IS:
            for kernel in kernels:
                print(f"{kernel.read / 2**20:9.2f} {kernel.written / 2**20:9.2f} MiB  {kernel.part:42} {kernel.name}")
        rows[choice] = summary_of(kernels) | {
            "memory_bytes": step.memory_bytes,
            "executed_flops": executed_flops(step.text),
            **graphs_of(step.thunks)._asdict(),
        }
        print(line_of(choice, rows[choice]), flush=True)
    record = {
        "recipe": options.recipe,
        "batch_size": recipe.batch_size,
        "image_size": options.image_size,
        "flops": {"recipe": recipe.step_flops(options.image_size)}
        | ({"needed": needed_flops(recipe)} if options.image_size is None else {}),
        "strategy": options.strategy,
        "members": options.members,
        "variants": rows,
        "command": command_line("kernels", arguments),
        **describe(),
        # Not what this machine is, but what is compiled for.
        "device": f"compiled for {name}",
        "platform": "gpu",
        "convolution": "native",
    }
    save(options.results, FILE, record)
    if options.json:
        print(dump_json(record), flush=True)
    return 0


def choices_of(strategy: Strategy, recipe: Recipe) -> tuple[str, ...]:
    """Return the choices that change what is compiled of a recipe with a strategy."""
    return tuple(name for name in CHOICES if strategy in VARIANTS[name].strategies and VARIANTS[name].concerns(recipe))


def check_group(strategy: Strategy, members: int) -> None:
    """Raise ValueError for a group that there is not, or whose members have a device each."""
    if members < 1 or (strategy == "sequential" and members > 1):
        raise ValueError(f"members is {members}, but it must be at least 1, and 1 with the strategy sequential")
    if strategy == "sharded":
        raise ValueError("strategy is sharded, but what is described is one GPU, on which that is vmap; choose vmap")


def known_targets() -> list[str]:
    """Return the GPUs that are described here."""
    return sorted(path.stem for path in TARGETS.glob("*.txtpb"))


def open_target(name: str) -> tuple[str, Any]:
    """Return a described GPU's full name, and the device to compile for. Raises ValueError if it is unavailable."""
    if name not in known_targets():
        raise ValueError(f"target is {name!r}, but it must be one of {', '.join(known_targets())}")
    # The plugin refuses to load on a machine without a GPU, unless no GPU is asked for.
    jax.config.update("jax_platforms", "cpu")
    described = (TARGETS / f"{name}.txtpb").read_text()
    try:
        topology = topologies.get_topology_desc(platform="cuda", target_config=described, topology="1x1x1")
    except Exception as error:
        raise ValueError(
            f"cannot compile for a GPU here: {error}; pip install 'airjax[cuda12]' brings the compiler, also where "
            "there is no GPU"
        ) from error
    return described.partition('name: "')[2].partition('"')[0], topology.devices[0]


def compile_step(
    recipe: Recipe,
    variant: Variant,
    device: Any,
    strategy: Strategy = "sequential",
    members: int = 1,
    image_size: int | None = None,
) -> CompiledStep:
    """Compile a variant of the steps of a recipe's networks for a GPU, with images of the data's size or another."""
    sharding = SingleDeviceSharding(device)

    def placed(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)

    precision = variant.precision or recipe.precision
    recipe = resolve_precision(recipe.override(precision=precision), "gpu")
    steps, backend = make_variant(variant, recipe, "gpu", STEPS, strategy, image_size)
    key, hyper = jax.eval_shape(lambda: make_key(0)), jax.eval_shape(lambda: hyperparameters(recipe))
    size = recipe.inputs.image_size
    images = jax.ShapeDtypeStruct((recipe.train_examples, size, size, recipe.inputs.channels), jnp.uint8)
    labels = jax.ShapeDtypeStruct((recipe.train_examples,), jnp.int32)
    state, draws = jax.eval_shape(functools.partial(start_run, recipe, backend), key, images, hyper)
    state, draws, hyper = jax.tree.map(functools.partial(with_axis, members), (state, draws, hyper))
    task: Any = Task(images, labels, draws, hyper)  # pyright: ignore[reportArgumentType]
    shapes = state, task, jax.ShapeDtypeStruct((), jnp.int32)
    # Kernels of our own are lowered for the device that the mesh names.
    described = AbstractDevice(device.device_kind, device.core_count, "gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=described)), undone(variant):
        traced = jax.jit(steps, donate_argnums=0).trace(*placed(shapes))
        lowered = traced.lower(lowering_platforms=("cuda",))
    options = dict(compiler_options("gpu", backend.convolution) if variant.compiler is None else variant.compiler)
    with tempfile.TemporaryDirectory() as folder:
        # Without a GPU there is nothing to tune on.
        options |= {"xla_gpu_autotune_level": "0", "xla_dump_to": folder}
        program = lowered.compile(compiler_options=options)
        # As it is after all passes; without command buffers there are none.
        *_, thunks = sorted(Path(folder).glob("*thunk_sequence*.txt"), key=lambda file: len(file.name))
        return CompiledStep(program.as_text() or "", predicted_bytes([program]), thunks.read_text())


def with_axis(size: int, leaf: Any) -> jax.ShapeDtypeStruct:
    """Return a shape with a leading axis over the members of a group."""
    return jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype)


def kernels_of(text: str, recipe: Recipe) -> Iterator[Kernel]:
    """Return the kernels of one step of a compiled scan, in the order of the program.

    The data set, of which a step gathers a batch, counts as that batch.
    """
    instructions = step_of(text)
    sizes = {one.name: bytes_of(one.shape, recipe) for one in instructions}
    names = names_of_operations(text)
    for one in instructions:
        if one.operation not in NO_KERNEL:
            read = sum(sizes.get(operand, 0) for operand in dict.fromkeys(one.operands))
            yield Kernel(one.name, part_of(names.get(one.name))[0], read, sizes[one.name])


def bytes_of(shape: str, recipe: Recipe) -> int:
    """Return the size of an array, or of a tuple of arrays, as the compiler writes its shape."""
    total = 0
    for kind, bits, dimensions in ARRAY.findall(shape):
        sizes = [int(size) for size in dimensions.split(",") if size]
        if kind == "u" and sizes[:1] == [recipe.train_examples] and len(sizes) == 4:
            sizes[0] = recipe.batch_size
        total += math.prod(sizes) * (int(bits) // 8 if bits else 1)
    return total


def summary_of(kernels: list[Kernel]) -> dict[str, Any]:
    """Return what a record says of some kernels."""
    parts: Counter[str] = Counter()
    for kernel in kernels:
        parts[kernel.part] += kernel.moved
    return {
        "kernels": len(kernels),
        "convolution_bytes": parts["convolutions"],
        "other_bytes": parts.total() - parts["convolutions"],
        "parts": parts,
    }


def line_of(choice: str, row: dict[str, Any]) -> str:
    """Return one variant, for a terminal."""
    moved = f"{row['convolution_bytes'] / 2**20:7.0f} MiB by convolutions {row['other_bytes'] / 2**20:7.0f} by others"
    launched = f"{row['graphs']} graphs and {row['outside']} launches"
    rest = f"{row['executed_flops'] / 1e9:.0f} GFLOP, {row['memory_bytes'] / 2**20:.0f} MiB of memory, {launched}"
    return f"{choice:50} {row['kernels']:4} kernels {moved}, {rest}"
