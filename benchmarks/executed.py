"""What a program that is compiled for a GPU executes: its convolutions, their FLOPs, and the graphs it launches."""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from airjax.recipes.network import AirbenchNet
from airjax.recipes.recipe import Recipe

TARGET = re.compile(r'custom_call_target="__cudnn\$conv(Forward|BiasActivationForward|BackwardInput|BackwardFilter)"')
LABELS = re.compile(r"dim_labels=\w+_(\w+)->\w+")
GROUPS = re.compile(r"feature_group_count=(\d+)")
CONTRACTED = re.compile(r'lhs_contracting_dim(?:s=\{|ensions":\[)([\d,"]*)')
DIMENSIONS = re.compile(r"\[([\d,]*)\]")
CALLED = re.compile(r"calls=%([\w.-]+)")
THUNK = re.compile(r"^( *)\d+: k(\w+)")
LAUNCHES = {"Kernel", "CustomKernel", "Convolution", "Copy", "Gemm", "CublasLtMatmul", "CuDnn", "Memset32BitValue"}

Lines = list[str]


class Convolution(NamedTuple):
    """A convolution of the library."""

    name: str
    kind: str  # "Forward", "BackwardInput" or "BackwardFilter"
    window: tuple[int, ...]  # rows and columns of what the library takes for the kernel
    groups: int
    flops: float  # of a matrix product over all windows, whose padding counts, too


class Graphs(NamedTuple):
    """What the host launches."""

    graphs: int  # CUDA graphs
    outside: int  # kernels, convolutions and copies in none of them


def convolutions_of(body: Lines, shapes: dict[str, tuple[int, ...]]) -> Iterator[Convolution]:
    """The convolutions of a computation's lines; shapes are those of all its arrays, by name."""
    for line in body:
        target, labels, groups = TARGET.search(line), LABELS.search(line), GROUPS.search(line)
        if target is None or labels is None:
            continue
        name, operands, kind = name_of(line), operands_of(line), target[1].replace("BiasActivation", "")
        result, second = shapes[name], shapes[operands[1]]
        kernel = result if kind == "BackwardFilter" else second
        taps = tuple(size for label, size in zip(labels[1], kernel, strict=True) if label.isdigit())
        inputs, outputs = (kernel[labels[1].index(label)] for label in "io")
        count = int(groups[1]) if groups else 1
        if kind == "BackwardFilter":
            products = math.prod(kernel) * math.prod(second) // outputs
        else:
            terms = inputs if kind == "Forward" else outputs // count
            products = math.prod(result) * math.prod(taps) * terms
        yield Convolution(name, kind, taps, count, 2.0 * products)


def product_flops(body: Lines, others: dict[str, Lines], shapes: dict[str, tuple[int, ...]]) -> float:
    """FLOPs of the matrix products of a computation's lines, and of the computations that it calls."""
    total = 0.0
    for line in body:
        called = CALLED.search(line)
        if called and " dot(" in "".join(others.get(called[1], ())):
            total += product_flops(others[called[1]], {}, shapes_of(others[called[1]]))
        elif (contracted := CONTRACTED.search(line)) and (" dot(" in line or "__cublas" in line):
            left = shapes[operands_of(line)[0]]
            terms = math.prod(left[int(axis)] for axis in re.findall(r"\d+", contracted[1]))
            total += 2.0 * math.prod(shapes[name_of(line)]) * terms
    return total


def name_of(line: str) -> str:
    """The name of the array that an instruction makes."""
    return line.split(" = ", maxsplit=1)[0].replace("ROOT", "").strip().lstrip("%")


def operands_of(line: str) -> list[str]:
    """The names of an instruction's operands."""
    return re.findall(r"%([\w.-]+)", re.split(r" [\w-]+\(", line.split(" = ", 1)[1], maxsplit=1)[1].split(")")[0])


def shapes_of(body: Lines) -> dict[str, tuple[int, ...]]:
    """The shapes of all arrays of a computation's lines, by name; of a tuple, that of its first array."""
    found = {}
    for line in body:
        shape = DIMENSIONS.search(line.partition(" = ")[2])
        if shape:
            found[name_of(line)] = tuple(int(size) for size in shape[1].split(",") if size)
    return found


def graphs_of(thunks: str) -> Graphs:
    """The CUDA graphs of a program, from the compiler's own list of what it executes."""
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
    """FLOPs of a step with a frozen bias that some result depends on.

    An image needs no gradient, so the first layer has none by its input. In an airbench network the convolution before
    a pool of an odd size needs no last row and column, frozen whitening filters no gradient, and neither do the
    patches, if nothing before them trains.
    """
    network, inputs = recipe.network, recipe.inputs
    if not isinstance(network, AirbenchNet):
        stem = 9 * inputs.image_size**2 * inputs.channels * network.widths[0]
        return 2.0 * recipe.batch_size * (3 * recipe.forward_macs - stem)
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
    return 2.0 * recipe.batch_size * (3 * (first + sum(macs) + head) - unread)


def executed_flops(body: Lines, others: dict[str, Lines]) -> float:
    """FLOPs of a step's convolutions and matrix products, as the compiled program executes them."""
    shapes: dict[str, Any] = shapes_of(body)
    convolutions = sum(convolution.flops for convolution in convolutions_of(body, shapes))
    return convolutions + product_flops(body, others, shapes)


def float32_activations(body: Lines, batch_size: int) -> list[str]:
    """The names of a computation's arrays of images in float32, which in half precision no kernel should write."""
    written = re.compile(rf"f32\[{batch_size},\d+,\d+,\d+\]")
    lines = (line for line in body if not re.search(r" (parameter|get-tuple-element|bitcast|tuple)\(", line))
    return [name_of(line) for line in lines if written.search(re.split(r" [\w-]+\(", line, maxsplit=1)[0])]
