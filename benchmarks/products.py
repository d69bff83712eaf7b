"""The matrix products that a GPU's program consists of: its convolutions, and the products that it has as such.

A library computes a convolution as a product with patches that it never writes down. How long it takes follows from
the product's sides: how many tiles its result is cut into, and how long the sums are.
"""

import math
import re
from typing import NamedTuple

from benchmarks.hlo import ARRAY, step_of

WINDOW = re.compile(r"window=\{size=(\d+)x(\d+)")
GROUPS = re.compile(r"feature_group_count=(\d+)")
TARGET = re.compile(r'custom_call_target="__(cudnn\$conv|cublas\$)(\w*)')
GEMM_FUSION = re.compile(r"gemm_fusion_dot[\w.]* = .*kind=kCustom")


class Product(NamedTuple):
    """groups products [rows,depth] x [depth,columns] of one kernel."""

    kind: str  # "forward", "input gradient", "kernel gradient" of a convolution, or "product"
    rows: int
    columns: int
    depth: int
    channels: int  # the smaller of those in and out of a group: what decides how well the units are filled
    groups: int = 1
    window: int = 1  # its larger side in pixels

    @property
    def is_convolution(self) -> bool:
        """Say whether it is one of the library's convolutions."""
        return self.kind != "product"

    @property
    def flops(self) -> float:
        """Floating-point operations."""
        return 2.0 * self.rows * self.columns * self.depth * self.groups


def products_of(text: str) -> dict[str, Product]:
    """Return the products of one step of a compiled program, by the name of their kernel."""
    instructions = step_of(text)
    shapes = {one.name: dimensions_of(one.shape) for one in instructions}
    found = {}
    for one in instructions:
        operands = [shapes[operand] for operand in one.operands if operand in shapes]
        target = TARGET.search(one.line)
        if target and target[1].startswith("cudnn"):
            found[one.name] = convolution_of(target[2], shapes[one.name], operands, one.line)
        elif target or GEMM_FUSION.search(one.line):
            found[one.name] = plain_product(shapes[one.name], operands)
    return found


def dimensions_of(shape: str) -> tuple[int, ...]:
    """Return the sides of an array, or of the first of a tuple of arrays."""
    array = ARRAY.search(shape)
    return tuple(int(size) for size in array[3].split(",") if size) if array else ()


def convolution_of(target: str, result: tuple[int, ...], operands: list[tuple[int, ...]], line: str) -> Product:
    """Return the product that a convolution is; images are [n,h,w,c], kernels [o,rows,columns,i of a group].

    Raises ValueError for a convolution of another kind, which a new version of the compiler may have.
    """
    window, groups = WINDOW.search(line), GROUPS.search(line)
    count = int(groups[1]) if groups else 1
    sides = (int(window[1]), int(window[2])) if window else (1, 1)
    pixels, side = math.prod(sides), max(sides)
    if target in ("Forward", "BiasActivationForward"):
        inputs, outputs = operands[0][-1] // count, result[-1] // count
        return Product("forward", math.prod(result[:-1]), outputs, pixels * inputs, min(inputs, outputs), count, side)
    if target == "BackwardInput":
        inputs, outputs = result[-1] // count, operands[0][-1] // count
        return Product(
            "input gradient", math.prod(result[:-1]), inputs, pixels * outputs, min(inputs, outputs), count, side
        )
    if target == "BackwardFilter":
        outputs, inputs, summed = result[0] // count, result[-1], math.prod(operands[1][:-1])
        return Product("kernel gradient", pixels * inputs, outputs, summed, min(inputs, outputs), count, side)
    raise ValueError(f"a convolution is __cudnn$conv{target}, which the model does not know; add it to {__name__}")


def plain_product(result: tuple[int, ...], operands: list[tuple[int, ...]]) -> Product:
    """Return a product, or a batch of them; its depth follows from the sizes of all three arrays."""
    *batch, rows, columns = result
    groups = math.prod(batch)
    product = math.prod(operands[0]) * math.prod(operands[1]) * math.prod(result)
    depth = round(math.sqrt(product / groups)) // (rows * columns * groups)
    return Product("product", rows, columns, depth, min(columns, depth), groups)
