"""What a GPU's compiler makes of several networks at once, on a machine that need not have the GPU."""

from importlib.util import find_spec
from typing import Any

import pytest

from airjax.recipes.published import RECIPES
from benchmarks.ablation_variants import AS_IT_IS, VARIANTS
from benchmarks.kernels import compile_step, kernels_of, open_target
from benchmarks.products import Product, products_of

MEMBERS = 4
RECIPE = RECIPES["94"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("jax_plugins") is None, reason="needs a GPU's compiler: pip install 'airjax[cuda12]'"),
]


@pytest.fixture(scope="module")
def device() -> Any:
    return open_target("h200")[1]


def convolutions(device: Any, choice: str, strategy: Any, members: int) -> list[Product]:
    text = compile_step(RECIPE, VARIANTS[choice], device, strategy, members).text
    return [product for product in products_of(text).values() if product.kind != "product"]


def test_no_weight_gradient_of_four_networks_is_a_forward_convolution(device: Any) -> None:
    found = convolutions(device, AS_IT_IS, "vmap", MEMBERS)
    assert max(product.window for product in found) == 3
    assert {product.groups for product in found} == {MEMBERS}
    # One for each 3x3 convolution; the whitening filters are frozen.
    gradients = [product for product in found if product.kind == "kernel gradient"]
    assert len(gradients) == len(RECIPE.network.conv_shapes(RECIPE.inputs)) == 6
    # What is left has as many rows as a batch has pixels: none sums over the batch.
    assert all(product.rows >= RECIPE.batch_size * 9 for product in found if product.kind != "kernel gradient")


def test_by_itself_vmap_makes_forward_convolutions_with_the_image_as_their_window(device: Any) -> None:
    found = convolutions(device, "convolutions as vmap makes them", "vmap", MEMBERS)
    assert sorted({product.window for product in found if product.window > 3}) == [4, 6, 7, 14, 15, 30]
    assert not [product for product in found if product.kind == "kernel gradient"]


def test_interleaved_networks_have_the_convolutions_of_one_each(device: Any) -> None:
    alone, turns = (
        convolutions(device, AS_IT_IS, strategy, members)
        for strategy, members in (("sequential", 1), ("interleaved", 2))
    )
    assert sorted(turns) == sorted(2 * alone)


def test_interleaved_networks_move_no_more_than_one_after_another(device: Any) -> None:
    moved = []
    for strategy, members in (("sequential", 1), ("interleaved", 2)):
        text = compile_step(RECIPE, VARIANTS[AS_IT_IS], device, strategy, members).text
        moved.append(sum(kernel.read + kernel.written for kernel in kernels_of(text, RECIPE)) / members)
    assert moved[1] == pytest.approx(moved[0], rel=0.01)
