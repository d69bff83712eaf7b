import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from airjax.augment.batch import Batch
from airjax.kernels import convolution as forms
from airjax.kernels import onednn
from airjax.kernels.convolution import Convolution, Padding, conv, conv_same, conv_to_pool, default_convolution
from airjax.nn.build import init_variables
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.published import get_recipe
from airjax.training.backend import backend_of
from airjax.training.step import init_state, train_step

needs_onednn = pytest.mark.skipif(
    jax.default_backend() != "cpu" or not onednn.onednn_available(),
    reason="oneDNN is not installed; pip install '.[cpu]'",
)


def first(x: Array, kernel: Array, convolution: Convolution) -> Array:
    return conv(x, kernel, ((0, 0), (0, 0)), convolution)


def strided(x: Array, kernel: Array, convolution: Convolution) -> Array:
    return conv(x, kernel, ((1, 1), (1, 1)), convolution, stride=2)


def stem(x: Array, kernel: Array, convolution: Convolution) -> Array:
    return conv(x, kernel, ((3, 3), (3, 3)), convolution, stride=2)


def shortcut(x: Array, kernel: Array, convolution: Convolution) -> Array:
    return conv(x, kernel, ((0, 0), (0, 0)), convolution, stride=2)


# Every shape of convolution in 94 and mini: the layer, the image's side, channels in and out.
SHAPES = [
    *((first, 32, 3, 24), (conv_to_pool, 31, 24, 64), (conv_same, 15, 64, 64), (conv_to_pool, 15, 64, 256)),
    *((conv_same, 7, 256, 256), (conv_to_pool, 7, 256, 256), (conv_same, 3, 256, 256)),
    *((conv_to_pool, 31, 24, 16), (conv_same, 15, 16, 16), (conv_same, 7, 32, 32)),
]
# Those of ResNet-18 that have a stride, and of images with an odd side.
STRIDED = [
    *((strided, 32, 64, 128), (strided, 8, 256, 512), (shortcut, 32, 64, 128), (shortcut, 8, 256, 512)),
    *((strided, 7, 8, 16), (shortcut, 7, 8, 16), (stem, 16, 3, 8), (stem, 15, 3, 8)),
]


@pytest.mark.parametrize("layer", [strided, shortcut])
@pytest.mark.parametrize("side", [7, 8])
def test_strided_products_over_patches_equal_xla_s(layer: Callable[..., Array], side: int) -> None:
    x = jax.random.normal(jax.random.key(0), (2, side, side, 3))
    kernel = jax.random.normal(jax.random.key(1), (*((1, 1) if layer is shortcut else (3, 3)), 3, 5))
    np.testing.assert_allclose(layer(x, kernel, "matmul"), layer(x, kernel, "native"), rtol=1e-4, atol=1e-5)


@needs_onednn
def test_another_stride_is_refused() -> None:
    x, kernel = jnp.ones((1, 9, 9, 2)), jnp.ones((3, 3, 2, 2))
    with pytest.raises(ValueError, match="called with stride 1 or 2, not 3; convolve natively"):
        conv(x, kernel, ((1, 1), (1, 1)), "onednn", stride=3)


@needs_onednn
@pytest.mark.parametrize(("layer", "side", "inputs", "outputs"), SHAPES + STRIDED)
def test_convolutions_and_gradients_equal_xla_s(
    layer: Callable[..., Array], side: int, inputs: int, outputs: int
) -> None:
    size = {first: 2, shortcut: 1, stem: 7}.get(layer, 3)
    x = jax.random.normal(jax.random.key(0), (8, side, side, inputs))
    kernel = jax.random.normal(jax.random.key(1), (size, size, inputs, outputs))

    def both(convolution: Convolution) -> tuple[Array, ...]:
        def apply(x: Array, kernel: Array) -> tuple[Array, ...]:
            y, pull = jax.vjp(lambda x, kernel: layer(x, kernel, convolution), x, kernel)
            return y, *pull(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

        return jax.jit(apply)(x, kernel)

    for ours, native in zip(both("onednn"), both("native"), strict=True):
        np.testing.assert_allclose(ours, native, rtol=0, atol=1e-5 * float(abs(native).max()))


@needs_onednn
@pytest.mark.skipif(not onednn.onednn_available(jnp.bfloat16), reason="this processor has no bfloat16 instructions")
@pytest.mark.parametrize(("layer", "side", "inputs", "outputs"), SHAPES)
def test_bfloat16_is_rounded_once(layer: Callable[..., Array], side: int, inputs: int, outputs: int) -> None:
    size = 2 if layer is first else 3
    x = jax.random.normal(jax.random.key(0), (8, side, side, inputs), jnp.bfloat16)
    kernel = jax.random.normal(jax.random.key(1), (size, size, inputs, outputs), jnp.bfloat16)

    def apply(x: Array, kernel: Array, convolution: Convolution) -> tuple[Array, ...]:
        # Not through a pool: where two values round to the same, it would choose another one's gradient.
        padding = ((0, 0), (0, 0)) if layer is first else ((1, int(layer is conv_same)),) * 2
        y, pull = jax.vjp(lambda x, kernel: conv(x, kernel, padding, convolution), x, kernel)
        cotangent = jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(jnp.bfloat16)
        return y, *pull(cotangent.astype(y.dtype))

    ours = jax.jit(lambda x, kernel: apply(x, kernel, "onednn"))(x, kernel)
    exact = jax.jit(lambda x, kernel: apply(x, kernel, "native"))(*(a.astype(jnp.float32) for a in (x, kernel)))
    for rounded, value in zip(ours, exact, strict=True):
        assert rounded.dtype == jnp.bfloat16
        # Half a unit of eight bits, and the order of float32 sums.
        np.testing.assert_allclose(rounded.astype(jnp.float32), value, rtol=2**-8, atol=1e-5 * float(abs(value).max()))


@needs_onednn
def test_a_call_leaves_openmp_s_threads_alone() -> None:
    script = (
        "import ctypes, jax, jax.numpy as jnp\n"
        "from airjax.kernels import ffi, onednn\n"
        "assert onednn.onednn_available()\n"
        "openmp = ctypes.CDLL(onednn.library_path())\n"
        "seen = []\n"
        "ffi.register('threads', lambda x, y: seen.append(openmp.omp_get_max_threads()))\n"
        "ask = jax.ffi.ffi_call('threads', jax.ShapeDtypeStruct((1, 9, 9, 8), jnp.float32))\n"
        "kernel = jnp.ones((3, 3, 8, 8))\n"
        "convolve = lambda x: onednn.onednn_conv(x, kernel, ((1, 1), (1, 1)))\n"
        "jax.block_until_ready(jax.jit(lambda x: ask(convolve(ask(x))))(jnp.ones((1, 9, 9, 8))))\n"
        "print(seen)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[3, 3]\n"


@needs_onednn
def test_a_step_gives_the_same_network() -> None:
    recipe = get_recipe("mini")
    hyper = hyperparameters(recipe)
    backend = backend_of(recipe)
    state = init_state(recipe, backend, init_variables(recipe, backend_of(recipe), jax.random.key(0)), hyper)
    images = jax.random.normal(jax.random.key(1), (50, 32, 32, 3))
    batch = Batch(images, jnp.arange(50) % 10, None)

    def step(convolution: Convolution) -> list[Array]:
        after, metrics = jax.jit(
            lambda state: train_step(recipe, state, batch, hyper, backend=backend_of(recipe, convolution=convolution))
        )(state)
        return [*jax.tree.leaves((after.params, after.batch_stats)), metrics.loss]

    for ours, native in zip(step("onednn"), step("native"), strict=True):
        np.testing.assert_allclose(ours, native, rtol=1e-4, atol=1e-5)


@needs_onednn
def test_under_vmap_it_is_called_for_each() -> None:
    x, kernels = jnp.ones((2, 5, 5, 3)), jax.random.normal(jax.random.key(0), (3, 3, 3, 3, 4))
    mapped = jax.vmap(lambda kernel: conv_same(x, kernel, "onednn"))(kernels)
    for ours, kernel in zip(mapped, kernels, strict=True):
        np.testing.assert_allclose(ours, conv_same(x, kernel), atol=1e-5)


@needs_onednn
def test_the_library_s_refusal_is_an_error_with_its_name() -> None:
    # Channels of image and kernel that do not fit: onednn_conv's annotations would have caught this.
    operands = jnp.ones((1, 5, 5, 3)), jnp.ones((3, 3, 4, 4))
    with pytest.raises(jax.errors.JaxRuntimeError, match="dnnl_convolution_forward_primitive_desc_create"):
        jax.block_until_ready(onednn._ffi("airjax_convolution", (1, 5, 5, 4), *operands))


@needs_onednn
def test_arrays_of_two_types_and_padding_that_it_cannot_be_told_are_refused() -> None:
    x, kernel = jnp.ones((1, 5, 5, 3)), jnp.ones((3, 3, 3, 4))
    with pytest.raises(ValueError, match="oneDNN convolves arrays of one dtype, not float32 with bfloat16"):
        onednn.onednn_conv(x, kernel.astype(jnp.bfloat16), ((1, 1), (1, 1)))
    for padding in (((0, 1), (1, 1)), ((1, 1), (2, 1))):
        with pytest.raises(ValueError, match="oneDNN's convolutions are not called with padding"):
            onednn.onednn_conv(x, kernel, padding)


@needs_onednn
@pytest.mark.parametrize("padding", [((0, 1), (0, 1)), ((0, 1), (1, 0)), ((2, 1), (0, 3))])
def test_zeros_on_any_side_are_where_they_belong(padding: Padding) -> None:
    key = jax.random.key(0)
    x, kernel = jax.random.normal(key, (2, 6, 5, 3)), jax.random.normal(key, (3, 3, 3, 4))
    np.testing.assert_allclose(conv(x, kernel, padding, "onednn"), conv(x, kernel, padding), atol=1e-5)


@needs_onednn
def test_it_is_the_choice_for_what_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRJAX_CONVOLUTION", raising=False)
    assert default_convolution(jnp.float32, "cpu") == "onednn"
    assert default_convolution(jnp.float64, "cpu") == default_convolution(jnp.float16, "cpu") == "native"
    library = onednn._loaded()
    for instructions, expected in ((True, "onednn"), (False, "native")):
        monkeypatch.setattr(library, "multiplies_bfloat16", instructions)
        assert default_convolution(jnp.bfloat16, "cpu") == expected
    monkeypatch.setenv("AIRJAX_CONVOLUTION", "onednn")
    assert default_convolution(jnp.float32, "cpu") == "onednn"
    assert default_convolution(jnp.bfloat16, "cpu") == "native"
    monkeypatch.setattr(library, "multiplies_bfloat16", True)
    assert default_convolution(jnp.bfloat16, "cpu") == "onednn"
    monkeypatch.setenv("AIRJAX_CONVOLUTION", "native")
    assert default_convolution(jnp.float32, "cpu") == "native"


def test_without_the_library_xla_convolves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AIRJAX_CONVOLUTION", raising=False)
    onednn._loaded.cache_clear()
    broken = tmp_path / "libdnnl.so.3"
    broken.write_bytes(b"not a library")
    for path, said in (
        (None, nullcontext()),
        (str(broken), pytest.warns(UserWarning, match="does not load .*libgomp1")),
    ):
        monkeypatch.setattr(onednn, "library_path", lambda path=path: path)
        with said:
            assert not onednn.onednn_available()
        assert default_convolution(jnp.float32, "cpu") == "native"
        with pytest.raises(ValueError, match="oneDNN is not installed"):
            conv_same(jnp.ones((1, 5, 5, 3)), jnp.ones((3, 3, 3, 4)), "onednn")
        onednn._loaded.cache_clear()
    monkeypatch.setattr(forms, "onednn_available", lambda dtype=None: False)
    monkeypatch.setenv("AIRJAX_CONVOLUTION", "onednn")
    with pytest.raises(ValueError, match="pip install"):
        default_convolution(jnp.float32, "cpu")
    monkeypatch.setenv("AIRJAX_CONVOLUTION", "fast")
    with pytest.raises(ValueError, match="'fast'"):
        default_convolution(jnp.float32, "cpu")
