"""What a program that is compiled for a GPU executes: its FLOPs, its graphs, and arrays that should not be there."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from airjax.recipes.network import AirbenchNet
from airjax.recipes.recipe import Recipe
from benchmarks.hlo import step_of
from benchmarks.products import products_of

THUNK = re.compile(r"^( *)\d+: k(\w+)")
LAUNCHES = {"Kernel", "CustomKernel", "Convolution", "Copy", "Gemm", "CublasLtMatmul", "CuDnn", "Memset32BitValue"}
# Operations that write nothing.
NAMES_ONLY = {"parameter", "get-tuple-element", "bitcast", "tuple"}


class Graphs(NamedTuple):
    """What the host launches."""

    graphs: int  # CUDA graphs
    outside: int  # kernels, convolutions and copies in none of them


def graphs_of(thunks: str) -> Graphs:
    """Return the CUDA graphs of a program, from the compiler's own list of what it executes."""
    graphs, outside, inside = 0, 0, math.inf
    for spaces, kind in _thunks(thunks):
        if spaces <= inside:
            inside = math.inf
        if kind == "CommandBuffer":
            graphs, inside = graphs + 1, min(inside, spaces)
        elif inside == math.inf and kind in LAUNCHES:
            outside += 1
    return Graphs(graphs, outside)


def _thunks(text: str) -> Iterator[tuple[int, str]]:
    for line in text.splitlines():
        found = THUNK.match(line)
        if found:
            yield len(found[1]), found[2]


def needed_flops(recipe: Recipe) -> float:
    """Return the FLOPs of a step with a frozen bias that some result depends on.

    An image needs no gradient, so the first layer has none by its input. In an airbench network the convolution before
    a pool of an odd size needs no last row and column, frozen whitening filters no gradient, and neither do the
    patches, if nothing before them trains. The proxy of a selection counts whole.
    """
    network, inputs = recipe.network, recipe.inputs
    examples, main = recipe.step_examples, 6.0 * recipe.forward_macs * recipe.step_examples
    proxy = recipe.step_flops() - main
    if not isinstance(network, AirbenchNet):
        stem = 9 * inputs.image_size**2 * inputs.channels * network.widths[0]
        return main - 2.0 * examples * stem + proxy
    shapes = network.conv_shapes(inputs)
    whole = sum(9 * shape.size**2 * shape.inputs * shape.outputs for shape in shapes)
    head = network.widths[-1] * inputs.num_classes
    first = recipe.forward_macs - whole - head
    sizes = [
        shape.size // 2 * 2 if number % network.convs_per_block == 0 else shape.size
        for number, shape in enumerate(shapes)
    ]
    macs = [9 * size**2 * shape.inputs * shape.outputs for size, shape in zip(sizes, shapes, strict=True)]
    unread = macs[0] + 2 * first if network.whitening is not None else first
    return 2.0 * examples * (3 * (first + sum(macs) + head) - unread) + proxy


def executed_flops(text: str) -> float:
    """Return the FLOPs of a step's convolutions and matrix products, as the compiled program executes them."""
    return sum(product.flops for product in products_of(text).values())


def float32_activations(text: str, batch_size: int) -> list[str]:
    """Name a step's arrays of images in float32, which in half precision no kernel should write."""
    written = re.compile(rf"f32\[{batch_size},\d+,\d+,\d+\]")
    makers = (one for one in step_of(text) if one.operation not in NAMES_ONLY)
    return [one.name for one in makers if written.search(one.shape)]
