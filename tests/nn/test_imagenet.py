"""ResNet-18 for ImageNet: what it counts, how it starts, and what its blur does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.kernels.backend import make_backend
from airjax.kernels.pool import blur
from airjax.nn.imagenet import ImageNetResNet
from airjax.recipes.inputs import Inputs
from airjax.recipes.network_imagenet import ImageNetResNet18

BACKEND = make_backend("float32", "cpu", "native")
FULL, IMAGES = ImageNetResNet18(), Inputs(image_size=224, num_classes=1000)


def initial(network: ImageNetResNet18, inputs: Inputs) -> dict:
    images = jnp.zeros((1, 32, 32, 3))
    return ImageNetResNet(network, inputs, BACKEND).init(jax.random.key(0), images, train=False)


def test_it_has_torchvision_s_parameters_and_operations() -> None:
    shapes = jax.eval_shape(lambda: initial(FULL, IMAGES)["params"])
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == FULL.num_params(IMAGES) == 11_689_512
    sharp = ImageNetResNet18(blur=False)
    assert sharp.num_params(IMAGES) == 11_689_512
    assert sharp.forward_macs(IMAGES) == 1_814_073_344
    # Nine for each of 64 channels of 56x56, 128 of 28x28 and 256 of 14x14.
    assert FULL.forward_macs(IMAGES) - sharp.forward_macs(IMAGES) == 9 * (64 * 56**2 + 128 * 28**2 + 256 * 14**2)


def test_images_of_any_size_are_halved_five_times() -> None:
    network, inputs = ImageNetResNet18((16, 16, 16, 16)), Inputs(image_size=96, num_classes=10)
    variables = jax.eval_shape(lambda: initial(network, inputs))
    for size, last in ((96, 3), (70, 3), (32, 1)):
        logits, sown = jax.eval_shape(
            lambda v, x: ImageNetResNet(network, inputs, BACKEND).apply(v, x, train=False, mutable=["intermediates"]),
            variables,
            jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32),
        )
        assert logits.shape == (2, 10)
        assert sown["intermediates"]["stage4_block2"]["output"][0].shape == (2, last, last, 16)


def test_kernels_start_normal_with_variance_two_over_fan_out() -> None:
    params = jax.tree.map(np.asarray, jax.jit(lambda: initial(FULL, Inputs(image_size=64)))()["params"])
    for kernel, fan_out in (
        (params["conv"], 49 * 64),
        (params["stage4_block1"]["conv1"], 9 * 512),
        (params["stage4_block1"]["shortcut"], 512),
    ):
        assert kernel.std() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
        # Of a normal law 4.6% lie beyond two deviations, of a uniform one none.
        assert (np.abs(kernel) > 2 * kernel.std()).mean() == pytest.approx(0.0455, abs=0.01)
    assert np.abs(params["head"]["kernel"]).max() <= 512**-0.5
    assert (params["norm"]["scale"] == 1).all()


def test_a_blur_spreads_a_pixel_by_one_two_one_and_loses_what_is_outside() -> None:
    image = np.zeros((1, 4, 4, 1), np.float32)
    image[0, 1, 1, 0] = 16
    assert np.asarray(blur(jnp.asarray(image)))[0, ..., 0].tolist() == [
        [1, 2, 1, 0],
        [2, 4, 2, 0],
        [1, 2, 1, 0],
        [0, 0, 0, 0],
    ]
    corner = np.zeros((1, 2, 2, 1), np.float32)
    corner[0, 0, 0, 0] = 16
    assert np.asarray(blur(jnp.asarray(corner)))[0, ..., 0].tolist() == [[4, 2], [2, 1]]


def test_blocks_are_blurred_where_they_stride_from_sixteen_channels_on() -> None:
    assert [block.blurred for block in FULL.blocks(IMAGES)] == [False, False, True, False, True, False, True, False]
    assert not any(block.blurred for block in ImageNetResNet18(blur=False).blocks(IMAGES))
    few = ImageNetResNet18((8, 16, 16, 16)).blocks(IMAGES)
    assert [block.blurred for block in few[2::2]] == [False, True, True]
