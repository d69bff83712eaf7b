"""Which arithmetic `auto` is on a platform, and where bfloat16 pays on a CPU."""

import jax.numpy as jnp
import pytest
from jax.typing import DTypeLike

from airjax.recipes.published import RECIPES
from airjax.training import backend
from airjax.training.backend import bfloat16_pays, resolve_precision

LARGE = ("94", "95", "96", "96-faster", "94-muon", "resnet18", "imagenet-resnet18-16")
SMALL = ("mini", "mini-faster", "mini-muon", "tiny")


def test_auto_is_float32_on_a_cpu_and_bfloat16_elsewhere() -> None:
    for name in (*LARGE, *SMALL):
        for platform, precision in (("cpu", "float32"), ("gpu", "bfloat16"), ("tpu", "bfloat16")):
            assert resolve_precision(RECIPES[name], platform).precision == precision
        assert resolve_precision(RECIPES[name].override(precision="float16"), "cpu").precision == "float16"


@pytest.mark.parametrize("multiplies", [True, False])
def test_bfloat16_pays_for_large_networks_on_cpus_that_multiply_it(
    monkeypatch: pytest.MonkeyPatch, *, multiplies: bool
) -> None:
    def default_convolution(dtype: DTypeLike, platform: str) -> str:
        assert (jnp.dtype(dtype), platform) == (jnp.bfloat16, "cpu")
        return "onednn" if multiplies else "native"

    monkeypatch.setattr(backend, "default_convolution", default_convolution)
    assert [bfloat16_pays(RECIPES[name], "cpu") for name in LARGE] == [multiplies] * len(LARGE)
    assert not any(bfloat16_pays(RECIPES[name], "cpu") for name in SMALL)
    assert not any(bfloat16_pays(RECIPES[name], "gpu") for name in (*LARGE, *SMALL))


def test_bfloat16_does_not_pay_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_CONVOLUTION", "native")
    assert not bfloat16_pays(RECIPES["94"], "cpu")
