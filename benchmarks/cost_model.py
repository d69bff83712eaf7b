"""How long a compiled step should take on a GPU, from what its kernels compute and move. A model: nothing is measured.

A convolution takes what its arithmetic takes at a fraction of the card's matrix rate, which depends on its channels
and on how its tiles fill the card's multiprocessors, or what its arrays take at the copy rate, whichever is longer. Any
other kernel takes what its arrays take, and never less than a floor. Between two kernels there is a gap.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from airjax.recipes.recipe import Recipe
from benchmarks.kernels import Kernel
from benchmarks.products import Product


class Constant(NamedTuple):
    """A number of the model, and where it is from."""

    value: float
    unit: str
    source: str


RATE = (
    "a product of large random matrices and a copy on such a card, once, before airjax ran on one; "
    "`python -m benchmarks.rates` found 728e12 and 3.1e12 on an H200, a comparison of whole trainings 838e12 and 4.2e12"
)
ASSUMED = "assumed; `python -m benchmarks profile` on the card decides"
CONSTANTS = {
    "h200 matrix rate": Constant(790e12, "FLOP/s, bfloat16", RATE),
    "h200 copy rate": Constant(4.3e12, "bytes/s, read and written", RATE),
    "h100 matrix rate": Constant(798e12, "FLOP/s, bfloat16", RATE),
    "h100 copy rate": Constant(3.0e12, "bytes/s, read and written", RATE),
    "multiprocessors": Constant(132, "", "the card's description (benchmarks/targets)"),
    "rate with 256 channels": Constant(0.75, "of the matrix rate", ASSUMED),
    "rate with 64 channels": Constant(0.575, "of the matrix rate", f"between 0.55 and 0.6, {ASSUMED}"),
    "rate with 24 channels": Constant(0.34, "of the matrix rate", f"between 0.30 and 0.38, {ASSUMED}"),
    "rate of half a tile": Constant(0.8, "of a whole tile's", ASSUMED),
    "copy rate of other kernels": Constant(0.8, "of the copy rate", ASSUMED),
    "floor": Constant(2e-6, "s, of a kernel", ASSUMED),
    "gap of a launch": Constant(1.2e-6, "s, after a kernel or a graph that is launched by itself", ASSUMED),
    "gap in a graph": Constant(0.5e-6, "s, after a kernel inside a CUDA graph", ASSUMED),
    "shortest graph": Constant(5, "kernels", "XLA's xla_gpu_graph_min_graph_size"),
    "rate of an evaluation": Constant(0.45, "of the matrix rate", ASSUMED),
    "start": Constant(0.03, "s: whitening, draws and the first launch", ASSUMED),
    "h200 airbench94_compiled, a step": Constant(2.4e-3, "s", "the same model for what torch.compile fuses; assumed"),
    "h100 airbench94_compiled, a step": Constant(2.71e-3, "s", "the same model for what torch.compile fuses; assumed"),
    "airbench94_compiled, the rest": Constant(0.158, "s: crops of every epoch, start, evaluation", ASSUMED),
}
CARDS = ("h200", "h100")
# Sides of the largest tile, by the least columns of a product that it is for.
TILES = ((256, (128, 256)), (128, (128, 128)), (0, (256, 64)))


class Card(NamedTuple):
    """A GPU's rates."""

    matrix_rate: float  # FLOP/s
    copy_rate: float  # bytes per second, read and written


class Launches(NamedTuple):
    """How kernels come to the card."""

    graphs: bool = True  # kernels that follow each other in one CUDA graph
    convolutions: bool = False  # the library's convolutions, too: then a step is one graph
    side_by_side: bool = False  # kernels of a graph that do not need each other run at the same time


class Times(NamedTuple):
    """Seconds of a step, by what takes them."""

    products: float
    others: float  # large kernels that move arrays
    small: float  # kernels at the floor
    gaps: float

    @property
    def total(self) -> float:
        """Add up the seconds of the whole step."""
        return sum(self)


def value(name: str) -> float:
    """Return a constant's number."""
    return CONSTANTS[name].value


def card_of(name: str) -> Card:
    """Return the rates of one of CARDS."""
    return Card(value(f"{name} matrix rate"), value(f"{name} copy rate"))


def bound(kernels: Iterable[Kernel], products: Mapping[str, Product], card: Card) -> float:
    """Return seconds of a step whose kernels are each as fast as the card's arithmetic and memory allow."""
    return sum(
        max(k.moved / card.copy_rate, products[k.name].flops / card.matrix_rate if k.name in products else 0.0)
        for k in kernels
    )


def step_times(
    kernels: list[Kernel], products: Mapping[str, Product], card: Card, launches: Launches, *, overlapped: bool = False
) -> Times:
    """Return seconds of a step.

    Kernels of several networks that are overlapped fill each other's last waves, floors and gaps: a step then takes
    what its arithmetic and its arrays take. That needs launches side by side.
    """
    times = dict.fromkeys(Times._fields, 0.0)
    slow, least = value("copy rate of other kernels") * card.copy_rate, 0.0 if overlapped else value("floor")
    for kernel in kernels:
        if kernel.name in products:
            product = products[kernel.name]
            filled = overlapped or (launches.side_by_side and product.kind == "input gradient")
            times["products"] += max(product_seconds(product, card, filled), kernel.moved / card.copy_rate)
        else:
            seconds = kernel.moved / slow
            times["others" if seconds > least else "small"] += max(seconds, least)
    times["gaps"] = 0.0 if overlapped else gaps(kernels, products, launches)
    return Times(**times)


def product_seconds(product: Product, card: Card, filled: bool = False) -> float:
    """Return seconds of a product's arithmetic; filled: as if other kernels filled the rest of its last wave."""
    fraction = rate_fraction(product.channels) * (1.0 if filled else fill(product))
    return product.flops / (fraction * card.matrix_rate)


def rate_fraction(channels: int) -> float:
    """Return the fraction of the matrix rate of a convolution that fills its waves.

    Linear in the logarithm of the channels between the three that are assumed, proportional to them below.
    """
    known = [(number, value(f"rate with {number} channels")) for number in (24, 64, 256)]
    if channels <= known[0][0]:
        return known[0][1] * channels / known[0][0]
    for (low, least), (high, most) in itertools.pairwise(known):
        if channels <= high:
            return least + (most - least) * math.log(channels / low) / math.log(high / low)
    return known[-1][1]


def fill(product: Product) -> float:
    """Return the fraction of the multiprocessors' time that a product's tiles use, by the better of two tiles.

    Sums over images, of a kernel's gradient, are cut into as many parts as fill a wave.
    """
    if product.kind == "kernel gradient":
        return 1.0
    rows, columns = next(tile for least, tile in TILES if product.columns >= least)
    smaller = (rows, columns // 2) if columns >= rows else (rows // 2, columns)
    return max(waves_fill(product, rows, columns), value("rate of half a tile") * waves_fill(product, *smaller))


def waves_fill(product: Product, rows: int, columns: int) -> float:
    """Return the fraction of all waves' places that tiles of this size take."""
    tiles = product.groups * math.ceil(product.rows / rows) * math.ceil(product.columns / columns)
    return tiles / (value("multiprocessors") * math.ceil(tiles / value("multiprocessors")))


def gaps(kernels: list[Kernel], products: Mapping[str, Product], launches: Launches) -> float:
    """Return seconds between the kernels of a step, in their order."""
    runs: list[int] = [0]  # lengths of the runs of kernels that a graph can have
    alone = 0
    for kernel in kernels:
        convolution = kernel.name in products and products[kernel.name].is_convolution
        if launches.graphs and (launches.convolutions or not convolution):
            runs[-1] += 1
        else:
            alone += 1
            runs.append(0)
    graphs = [run for run in runs if run >= value("shortest graph")]
    alone += sum(runs) - sum(graphs) + len(graphs)
    return alone * value("gap of a launch") + (sum(graphs) - len(graphs)) * value("gap in a graph")


def evaluation_seconds(recipe: Recipe, card: Card) -> float:
    """Return seconds of the test set with test-time augmentation."""
    flops = 2.0 * recipe.forward_macs * recipe.evaluation.passes_per_image * recipe.test_examples
    return flops / (value("rate of an evaluation") * card.matrix_rate)


def run_seconds(recipe: Recipe, card: Card, step: float, step_with_bias: float) -> float:
    """Return seconds of a whole training, whose steps take longer before the first convolution's bias freezes."""
    steps = sum((p.stop - p.start) * (step if p.frozen else step_with_bias) for p in recipe.phases())
    return value("start") + steps + evaluation_seconds(recipe, card)
