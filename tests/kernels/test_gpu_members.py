"""What a GPU's compiler makes of several networks at once, on a machine that need not have the GPU."""

import functools
from typing import Any

import pytest

from airjax.recipes.published import RECIPES
from benchmarks.ablation_variants import AS_IT_IS, VARIANTS
from benchmarks.kernels import compile_step, kernels_of, open_target
from benchmarks.products import Product, products_of
from tests.gpu_compiler import NO_GPU_COMPILER, has_gpu_compiler

MEMBERS = 4
RECIPE = RECIPES["94"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_gpu_compiler(), reason=NO_GPU_COMPILER),
]


@functools.cache
def program(choice: str, strategy: Any, members: int) -> str:
    return compile_step(RECIPE, VARIANTS[choice], open_target("h200")[1], strategy, members).text


def convolutions(choice: str, strategy: Any, members: int) -> list[Product]:
    text = program(choice, strategy, members)
    return [product for product in products_of(text).values() if product.is_convolution]


def test_no_weight_gradient_of_four_networks_is_a_forward_convolution() -> None:
    found = convolutions(AS_IT_IS, "vmap", MEMBERS)
    assert max(product.window for product in found) == 3
    assert {product.groups for product in found} == {MEMBERS}
    # One for each 3x3 convolution; the whitening filters are frozen.
    gradients = [product for product in found if product.kind == "kernel gradient"]
    assert len(gradients) == len(RECIPE.network.conv_shapes(RECIPE.inputs)) == 6
    # What is left has as many rows as a batch has pixels: none sums over the batch.
    assert all(product.rows >= RECIPE.batch_size * 9 for product in found if product.kind != "kernel gradient")


def test_by_itself_vmap_makes_forward_convolutions_with_the_image_as_their_window() -> None:
    found = convolutions("convolutions as vmap makes them", "vmap", MEMBERS)
    assert sorted({product.window for product in found if product.window > 3}) == [4, 6, 7, 14, 15, 30]
    assert not [product for product in found if product.kind == "kernel gradient"]


def test_interleaved_networks_have_the_convolutions_of_one_each() -> None:
    alone, turns = (
        convolutions(AS_IT_IS, strategy, members) for strategy, members in (("sequential", 1), ("interleaved", 2))
    )
    assert sorted(turns) == sorted(2 * alone)


def test_interleaved_networks_move_no_more_than_one_after_another() -> None:
    moved = []
    for strategy, members in (("sequential", 1), ("interleaved", 2)):
        kernels = kernels_of(program(AS_IT_IS, strategy, members), RECIPE)
        moved.append(sum(kernel.moved for kernel in kernels) / members)
    assert moved[1] == pytest.approx(moved[0], rel=0.01)
