import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.recipe import Recipe
from airjax.training import environment
from airjax.training.backend import backend_of
from airjax.training.loop import train
from airjax.training.many import seed_keys
from airjax.training.run import start_run


def test_the_kind_of_a_processor_follows_from_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch("[0-9a-f]{8}", environment.cpu_kind())
    assert environment.cpu_kind() == environment.cpu_kind()

    def kind(flags: str | None) -> str:
        monkeypatch.setattr(environment, "_cpu_fact", {"model name": "a processor", "flags": flags}.get)
        return environment.cpu_kind()

    assert kind("fma avx2") == kind("fma avx2") != kind("fma avx2 avx512f")
    assert re.fullmatch("[0-9a-f]{8}", kind(None))  # a system that does not say


def test_a_processor_s_name_comes_with_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_cpu_fact", lambda _: None)
    assert re.fullmatch(r".+, \d+ cores", environment.cpu_name())


def test_a_description_holds_settings_that_change_numbers_and_its_fingerprint_changes_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    before = environment.describe()
    assert json.loads(json.dumps(before)) == before
    assert before["settings"]["jax_enable_x64"] is False
    assert before["settings"]["jax_default_matmul_precision"] is None
    assert "XLA_FLAGS" not in before["settings"]
    with jax.default_matmul_precision("highest"):
        changed = environment.describe()
    assert changed["settings"]["jax_default_matmul_precision"] == "highest"
    assert environment.fingerprint_of(changed) != environment.fingerprint_of(before)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    flagged = environment.describe()
    assert flagged["settings"]["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=true"
    assert environment.fingerprint_of(flagged) != environment.fingerprint_of(before)
    assert environment.fingerprint_of(before | {"commit": "another"}) == environment.fingerprint_of(before)


RANDOMNESS = {
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_RANDOM_SEED_OFFSET": "5",
    "JAX_ENABLE_X64": "1",
    "FLAX_FIX_RNG_SEPARATOR": "1",
    "FLAX_RETURN_FROZENDICT": "1",
}
TRAIN = """
import sys
import numpy as np
import airjax
from airjax.training.loop import train
done = train(airjax.RECIPES["tiny"], airjax.load_builtin(300, 100), 3)
np.save(sys.argv[1], done.metrics.loss)
"""


def test_no_setting_changes_the_network_of_a_seed(tiny: Recipe, toy: airjax.Dataset, tmp_path: Path) -> None:
    file = tmp_path / "losses.npy"
    subprocess.run([sys.executable, "-c", TRAIN, file], env=os.environ | RANDOMNESS, check=True)
    np.testing.assert_array_equal(np.load(file), train(tiny, toy, 3).metrics.loss)


def test_programs_that_are_compiled_elsewhere_draw_the_same(tiny: Recipe, toy: airjax.Dataset) -> None:
    recipe, images = tiny.override(flip="random", widths=(4, 4, 4)), jnp.asarray(toy.train_images)
    start = jax.vmap(
        functools.partial(start_run, recipe, backend_of(recipe), train_images=images, hyper=hyperparameters(recipe))
    )
    keys = seed_keys([1, 2])
    expected = jax.device_get(jax.jit(start)(keys))
    with jax.threefry_partitionable(False):
        found = jax.device_get(jax.jit(start).lower(keys).compile()(keys))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_result_says_which_commit_of_the_checkout_it_was_made_by() -> None:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("this is no checkout")
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    found = environment.commit()
    assert found is not None
    assert len(found.removesuffix("+")) == 12
    assert head.startswith(found.removesuffix("+"))
