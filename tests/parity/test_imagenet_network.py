"""ResNet-18 for ImageNet with the same weights in both frameworks: blur, logits, running statistics, gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from airjax.kernels.backend import make_backend
from airjax.kernels.pool import blur
from airjax.nn.imagenet import ImageNetResNet
from airjax.recipes.inputs import Inputs
from airjax.recipes.network_imagenet import ImageNetResNet18
from parity import torch_imagenet
from parity.convert import TO_JAX, resnet_entries

NETWORK = ImageNetResNet18((16, 18, 20, 22))
INPUTS = Inputs(image_size=72, num_classes=7)
MODULE = ImageNetResNet(NETWORK, INPUTS, make_backend("float32", "cpu", "native"))


def torch_network(network: ImageNetResNet18 = NETWORK) -> torch.nn.Module:
    """A network whose BatchNorms have scales, biases and statistics that are not the initial ones."""
    torch.manual_seed(0)
    module = torch_imagenet.ImageNetResNet(network, INPUTS)
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (norm.weight.data, 0.5, 1.5),
                (norm.bias.data, -0.5, 0.5),
                (norm.running_mean, -0.5, 0.5),
                (norm.running_var, 0.5, 1.5),
            ):
                tensor.uniform_(low, high)
    return module


def to_tree(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Tensors under torchvision's names as a tree of airjax's variables."""
    tree: dict[str, Any] = {}
    for entry in resnet_entries(NETWORK, INPUTS):
        if entry.torch_key in tensors:
            node = tree
            for name in entry.path[:-1]:
                node = node.setdefault(name, {})
            # A copy: torch's next step must not change it.
            node[entry.path[-1]] = np.array(tensors[entry.torch_key].detach().permute(TO_JAX[entry.layout]).numpy())
    return tree


def images(count: int, size: int = 72) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, size, size, 3), np.float32)


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def assert_close(ours: Any, theirs: Any) -> None:
    # Sums of up to a thousand float32 products in another order.
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=3e-5 * np.abs(theirs).max())


def test_a_blur_is_torch_s_depthwise_convolution() -> None:
    x = images(2, 15)
    kernel = (torch.tensor([1.0, 2, 1])[:, None] * torch.tensor([1.0, 2, 1]) / 16).expand(3, 1, 3, 3)
    theirs = torch.nn.functional.conv2d(channels_first(x), kernel, padding=1, groups=3).permute(0, 2, 3, 1).numpy()
    # Nine products and sums in another order: two units in the last place of the largest.
    np.testing.assert_allclose(np.asarray(blur(jnp.asarray(x))), theirs, rtol=0, atol=2.4e-7 * np.abs(x).max())


@pytest.mark.parametrize("size", [72, 57])
def test_logits_are_torch_s_at_any_resolution(size: int) -> None:
    network, x = torch_network().eval(), images(3, size)
    with torch.no_grad():
        theirs = network(channels_first(x)).numpy()
    variables = to_tree(network.state_dict())
    ours = jax.jit(lambda v, x: MODULE.apply(v, x, train=False))(variables, x)
    assert_close(ours, theirs)
    with torch.no_grad():
        sharp = torch_network(ImageNetResNet18(NETWORK.widths, blur=False)).eval()(channels_first(x)).numpy()
    assert np.abs(sharp - theirs).max() > 0.01 * np.abs(theirs).max(), "the blur makes a difference"


def test_statistics_and_gradients_of_a_step_are_torch_s() -> None:
    network, x, labels = torch_network().train(), images(6), np.arange(6) % 7
    variables = to_tree(network.state_dict())
    loss = torch.nn.functional.cross_entropy(network(channels_first(x)), torch.from_numpy(labels), label_smoothing=0.1)
    loss.backward()
    pixels, targets = jnp.asarray(x), jnp.asarray(0.9 * np.eye(7, dtype=np.float32)[labels] + np.float32(0.1 / 7))

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        logits, updated = MODULE.apply({**variables, "params": params}, pixels, train=True, mutable=["batch_stats"])
        return -(targets * jax.nn.log_softmax(logits)).sum(axis=1).mean(), updated

    (ours, updated), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(variables["params"])
    assert float(ours) == pytest.approx(loss.item(), rel=1e-5)
    jax.tree.map(assert_close, updated["batch_stats"], to_tree(network.state_dict())["batch_stats"])
    grads = {name: parameter.grad for name, parameter in network.named_parameters()}
    theirs = to_tree(grads)["params"]
    assert jax.tree.structure(theirs) == jax.tree.structure(gradients)
    # Backwards through BatchNorms of few values, which cancel.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=1e-3 * np.abs(b).max()),
        gradients,
        theirs,
    )


def test_names_and_shapes_are_torchvision_s() -> None:
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    theirs = {name: tensor.shape for name, tensor in models.resnet18().state_dict().items()}
    full = torch_imagenet.ImageNetResNet(ImageNetResNet18(), Inputs(image_size=224, num_classes=1000))
    assert {name: tensor.shape for name, tensor in full.state_dict().items()} == theirs
