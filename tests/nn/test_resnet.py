import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.nn.build import apply_train, init_variables, make_module
from airjax.recipes.published import RECIPES
from airjax.training.backend import backend_of
from tests.networks import classify, classify_in_training, initial

SMALL = RECIPES["resnet18"].override(widths=(4, 6, 8, 10), precision="float32")


def images(count: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal((count, 32, 32, 3)), jnp.float32)


def test_stages_halve_the_image_and_the_head_sees_its_mean() -> None:
    _, updated = jax.eval_shape(
        lambda x: make_module(SMALL, backend_of(SMALL, convolution="native")).apply(
            initial(SMALL), x, train=True, mutable=["intermediates", "batch_stats"]
        ),
        images(2),
    )
    sown = updated["intermediates"]
    for stage, (size, width) in enumerate(((32, 4), (16, 6), (8, 8), (4, 10)), start=1):
        for block in (1, 2):
            assert sown[f"stage{stage}_block{block}"]["output"][0].shape == (2, size, size, width)
    assert sown["features"][0].shape == (2, 10)


def test_weights_have_the_default_law_and_batch_norm_starts_as_itself() -> None:
    recipe = RECIPES["resnet18"].override(precision="float32")
    params = jax.tree.map(np.asarray, initial(recipe)["params"])
    kernel = params["stage4_block2"]["conv2"]
    bound = (9 * 512) ** -0.5
    assert kernel.std() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert np.abs(kernel).max() <= bound
    assert np.abs(params["head"]["bias"]).max() <= 512**-0.5
    assert params["head"]["bias"].any()
    norm = params["stage2_block1"]["norm_shortcut"]
    assert (norm["scale"] == 1).all()
    assert not norm["bias"].any()
    assert "shortcut" not in params["stage1_block1"]


def test_a_block_whose_convolutions_are_zero_passes_its_input_on() -> None:
    variables = initial(SMALL)
    for kernel in ("conv1", "conv2"):
        variables["params"]["stage1_block2"][kernel] *= 0
    module, mutable = make_module(SMALL, backend_of(SMALL)), ["intermediates", "batch_stats"]
    _, updated = jax.jit(lambda v, x: module.apply(v, x, train=True, mutable=mutable))(variables, images(2))
    sown = updated["intermediates"]
    assert np.array_equal(sown["stage1_block2"]["output"][0], sown["stage1_block1"]["output"][0])
    assert sown["stage1_block1"]["output"][0].min() == 0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_keeps_batch_norm_in_float32(precision: str) -> None:
    recipe = SMALL.override(precision=precision)
    backend = backend_of(recipe, convolution="native")
    variables = jax.eval_shape(lambda: init_variables(recipe, backend, jax.random.key(0)))
    block = variables["params"]["stage2_block1"]
    assert block["norm1"]["scale"].dtype == np.float32
    assert block["conv1"].dtype == (np.float16 if precision == "float16" else np.float32)
    logits, stats = jax.eval_shape(
        lambda v, x: apply_train(recipe, backend, v, x), variables, images(2).astype(backend.precision.compute)
    )
    assert logits.dtype == np.float32
    assert stats["norm"]["mean"].dtype == np.float32


def test_evaluation_uses_the_running_statistics() -> None:
    variables, x = initial(SMALL), images(4)
    _, stats = classify_in_training(SMALL, variables, x)
    moved = {**variables, "batch_stats": stats}
    logits = classify(SMALL, moved, x)
    assert not np.allclose(classify(SMALL, variables, x), logits)
    assert np.allclose(logits[:1], classify(SMALL, moved, x[:1]), rtol=1e-4, atol=1e-5)
