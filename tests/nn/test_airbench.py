import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from airjax.nn import airbench
from airjax.nn.airbench import dirac_uniform
from airjax.nn.build import apply_eval, apply_train, init_variables, make_module
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of
from tests.networks import classify, classify_in_training, initial


def test_dirac_filters_pass_their_channels_and_the_rest_is_uniform() -> None:
    kernel = np.asarray(dirac_uniform(jax.random.key(0), (3, 3, 64, 256), jnp.float32))
    identity = np.zeros((3, 3, 64, 64), np.float32)
    identity[1, 1] = np.eye(64)
    assert np.array_equal(kernel[..., :64], identity)
    bound = (9 * 64) ** -0.5
    assert bound == pytest.approx(0.041667, abs=1e-6)
    assert stats.kstest(kernel[..., 64:].ravel(), stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-4


def test_square_layer_starts_as_the_exact_identity() -> None:
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 8))
    kernel = dirac_uniform(jax.random.key(0), (3, 3, 8, 8), jnp.float32)
    out = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    assert np.array_equal(out, x)


def test_initial_values_of_94() -> None:
    variables = jax.tree.map(np.asarray, initial(RECIPES["94"]))
    head = variables["params"]["head"]
    assert stats.kstest(head.ravel(), stats.uniform(-0.0625, 0.125).cdf).pvalue > 1e-4
    assert not variables["params"]["whiten"]["bias"].any()
    assert list(variables["frozen"]) == ["whiten"]
    assert (variables["batch_stats"]["block1"]["norm1"]["var"] == 1).all()


def test_initial_values_of_94_muon_are_a_head_of_unit_deviation_and_a_random_bias() -> None:
    recipe = RECIPES["94-muon"]
    ours, those_of_94 = (jax.tree.map(np.asarray, initial(one)["params"]) for one in (recipe, RECIPES["94"]))
    assert ours["head"].std(ddof=1) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(
        ours["head"] / ours["head"][0, 0], those_of_94["head"] / those_of_94["head"][0, 0], rtol=1e-5
    )
    bias_of = jax.jit(lambda key: init_variables(recipe, backend_of(recipe), key)["params"]["whiten"]["bias"])
    biases = [bias_of(jax.random.key(seed)) for seed in range(20)]
    bound = 12**-0.5
    assert stats.kstest(np.ravel(biases), stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-4
    np.testing.assert_array_equal(ours["block2"]["conv1"], those_of_94["block2"]["conv1"])


def test_a_head_of_half_precision_has_unit_deviation_too() -> None:
    recipe = RECIPES["94-muon"].override(precision="float16")
    head = initial(recipe)["params"]["head"]
    assert head.dtype == "float16"
    assert np.asarray(head, np.float64).std(ddof=1) == pytest.approx(1, rel=1e-3)


def test_laws_are_traced_to_initialise_a_network_and_not_to_use_it(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def law(key: Any, shape: Any, dtype: Any) -> Any:
        drawn.append(shape)
        return dirac_uniform(key, shape, dtype)

    monkeypatch.setattr(airbench, "dirac_uniform", law)
    backend = backend_of(tiny)
    variables = jax.eval_shape(functools.partial(init_variables, tiny, backend), jax.random.key(0))
    assert drawn
    drawn.clear()
    for use in (apply_train, apply_eval):
        jax.eval_shape(functools.partial(use, tiny, backend), variables, jnp.zeros((2, 32, 32, 3)))
    assert not drawn


def test_first_convolution_without_whitening_is_an_ordinary_trained_one(tiny: Recipe) -> None:
    plain = tiny.override(whiten=False)
    variables = initial(plain)
    assert "frozen" not in variables
    first = jax.tree.map(np.asarray, variables["params"]["whiten"])
    assert 0.2 < np.abs(first["kernel"]).max() <= 12**-0.5
    assert 0.1 < np.abs(first["bias"]).max() <= 12**-0.5
    plain = plain.override(whiten_bias=False)
    no_bias = initial(plain)
    assert "bias" not in no_bias["params"]["whiten"]


@pytest.mark.parametrize("name", ["94", "96", "96-paper"])
def test_intermediate_shapes(name: str) -> None:
    recipe = RECIPES[name].override(widths=(24, 32, 48), precision="float32")

    def intermediates(key: jax.Array) -> dict:
        variables = init_variables(recipe, backend_of(recipe), key)
        images = jnp.zeros((2, 32, 32, 3))
        logits, found = make_module(recipe, backend_of(recipe)).apply(
            variables, images, train=False, mutable=["intermediates"]
        )
        return {"logits": logits} | found["intermediates"]

    shapes = jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(intermediates, jax.random.key(0)))
    assert shapes["whiten_conv"] == ((2, 31, 31, 24),)
    sizes = [shapes[f"block{number}"]["output"] for number in (1, 2, 3)]
    assert sizes == [((2, 15, 15, 24),), ((2, 7, 7, 32),), ((2, 3, 3, 48),)]
    assert shapes["features"] == ((2, 48),)
    assert shapes["logits"] == (2, 10)


def test_running_statistics_keep_the_old_share_and_take_the_unbiased_variance(tiny: Recipe) -> None:
    recipe = tiny.override(precision="float32")
    variables = initial(recipe)
    kernel = jax.random.normal(jax.random.key(2), (2, 2, 3, 24))
    variables["frozen"] = {"whiten": {"kernel": kernel}}
    images = jax.random.normal(jax.random.key(1), (8, 32, 32, 3))
    _, updated = classify_in_training(recipe, variables, images)
    # The first normalised tensor, recomputed: identity-initialised convolution of the whitened image, pooled.
    x = jax.lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    pre = np.asarray(jax.nn.gelu(x, approximate=False))[:, :30, :30, :8]
    pooled = pre.reshape(8, 15, 2, 15, 2, 8).max(axis=(2, 4)).reshape(-1, 8).astype(np.float64)
    first = updated["block1"]["norm1"]
    assert np.allclose(first["mean"], 0.4 * pooled.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert np.allclose(first["var"], 0.6 + 0.4 * pooled.var(axis=0, ddof=1), rtol=1e-4)


def test_inference_does_not_depend_on_the_other_images(tiny: Recipe) -> None:
    recipe = tiny.override(precision="float32")
    variables = initial(recipe)
    variables["frozen"]["whiten"]["kernel"] = jax.random.normal(jax.random.key(2), (2, 2, 3, 24))
    images = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    assert np.allclose(
        classify(recipe, variables, images)[:1],
        classify(recipe, variables, images[:1]),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("precision", "params", "norm"), [("bfloat16", "float32", "float32"), ("float16", "float16", "float32")]
)
def test_precision_of_parameters_and_logits(tiny: Recipe, precision: str, params: str, norm: str) -> None:
    recipe = tiny.override(precision=precision)
    variables = initial(recipe)
    assert variables["params"]["block1"]["conv1"].dtype == params
    assert variables["params"]["block1"]["norm1"]["bias"].dtype == norm
    images = jnp.zeros((2, 32, 32, 3), precision)
    assert jax.eval_shape(lambda v: apply_eval(recipe, backend_of(recipe), v, images), variables).dtype == "float32"
