"""Which arithmetic `auto` is, by platform, processor and size of the network."""

import jax.numpy as jnp
import pytest
from jax.typing import DTypeLike

from airjax.recipes.published import RECIPES
from airjax.training import backend
from airjax.training.backend import resolve_precision

LARGE, SMALL = (
    ("94", "95", "96", "96-faster", "94-muon", "resnet18", "imagenet-resnet18-16"),
    ("mini", "mini-faster", "tiny"),
)


@pytest.fixture(params=[True, False], ids=["multiplies bfloat16", "does not"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """One whose oneDNN computes bfloat16, or does not."""

    def default_convolution(dtype: DTypeLike, platform: str) -> str:
        assert (jnp.dtype(dtype), platform) == (jnp.bfloat16, "cpu")
        return "onednn" if request.param else "native"

    monkeypatch.setattr(backend, "default_convolution", default_convolution)
    return request.param


def test_large_networks_are_in_bfloat16_on_cpus_that_multiply_it(processor: bool) -> None:
    for name in LARGE:
        assert resolve_precision(RECIPES[name], "cpu").precision == ("bfloat16" if processor else "float32")
    for name in SMALL:
        assert resolve_precision(RECIPES[name], "cpu").precision == "float32"


@pytest.mark.usefixtures("processor")
def test_accelerators_compute_in_bfloat16_and_what_is_asked_for_stays() -> None:
    for name in (*LARGE, *SMALL):
        assert resolve_precision(RECIPES[name], "gpu").precision == "bfloat16"
        assert resolve_precision(RECIPES[name].override(precision="float32"), "cpu").precision == "float32"
        assert resolve_precision(RECIPES[name].override(precision="bfloat16"), "cpu").precision == "bfloat16"


def test_without_onednn_a_cpu_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_CONVOLUTION", "native")
    assert resolve_precision(RECIPES["94"], "cpu").precision == "float32"
