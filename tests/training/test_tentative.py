"""Programs run first without options that may fail, then with them, and without them again where they fail."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.data import load_data
from airjax.recipes.published import get_recipe
from airjax.training import compile as compiling
from airjax.training import programs as programs_module
from airjax.training.api import train
from airjax.training.tentative import Tentative

NO_SUCH = {"xla_no_such_option": "1"}
RIGHT = {"xla_backend_optimization_level": "1"}


def add(state: Any, amount: jax.Array) -> Any:
    return jax.tree.map(lambda array: array + amount, state)


def lower(function: Any) -> tuple[jax.stages.Lowered, Any, jax.Array]:
    state, amount = {"a": jnp.arange(3.0), "b": [jnp.ones((2, 2))]}, jnp.asarray(2.0)
    return jax.jit(function, donate_argnums=0).lower(state, amount), state, amount


def test_options_are_tried_after_the_first_call_and_stay() -> None:
    lowered, state, amount = lower(add)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = Tentative(lowered, RIGHT, {})
        program.try_options()  # too early: nothing has run yet
        assert (program.options, program.can_try) == ({}, False)
        state = program(state, amount)
        assert (program.options, program.can_try) == ({}, True)
        program.try_options()
        assert (program.options, program.can_try) == (RIGHT, False)
        state = program(state, amount)
        assert program(state, amount)["a"].tolist() == [6, 7, 8]
    assert program.options == RIGHT
    assert "add" in (program.as_text() or "")
    assert program.memory_analysis() is not None


def test_options_that_the_compiler_refuses_are_left_out_with_a_warning() -> None:
    lowered, state, amount = lower(add)
    program = Tentative(lowered, RIGHT | NO_SUCH, RIGHT)
    state = program(state, amount)
    with pytest.warns(UserWarning, match="failed in the compiler and are left out.*xla_no_such_option.*No such"):
        program.try_options()
    assert (program.options, program.can_try) == (RIGHT, False)
    assert program(state, amount)["a"].tolist() == [4, 5, 6]


class FailsInCall:
    """A function that the program calls, which raises in one of its calls: as the capture of a graph may."""

    def __init__(self, failing: int) -> None:
        self.calls, self.failing = 0, failing

    def __call__(self, amount: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == self.failing:
            raise RuntimeError("cannot be captured")
        return np.asarray(amount)


def calling(called: FailsInCall) -> Any:
    def add_called(state: Any, amount: jax.Array) -> Any:
        return add(state, jax.pure_callback(called, jax.ShapeDtypeStruct((), jnp.float32), amount))

    return add_called


def test_options_that_fail_in_the_first_call_are_left_out_and_no_argument_is_lost() -> None:
    called = FailsInCall(2)
    lowered, state, amount = lower(calling(called))
    program = Tentative(lowered, RIGHT, {})
    state = program(state, amount)
    program.try_options()
    with pytest.warns(UserWarning, match="in a program's first call.*xla_backend_optimization_level.*INTERNAL"):
        out = program(state, amount)
    assert out["a"].tolist() == [4, 5, 6]
    assert out["b"][0].tolist() == [[5, 5], [5, 5]]
    assert (program.options, program.can_try) == ({}, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert program(out, amount)["a"].tolist() == [6, 7, 8]
    assert called.calls == 4


def test_a_program_that_fails_without_options_raises() -> None:
    lowered, *_ = lower(add)
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such"):
        Tentative(lowered, RIGHT, NO_SUCH)
    lowered, state, amount = lower(calling(FailsInCall(1)))
    with pytest.raises(jax.errors.JaxRuntimeError, match="cannot be captured"):
        jax.block_until_ready(Tentative(lowered, RIGHT, {})(state, amount))


def test_the_first_call_with_options_alone_copies_what_it_donates() -> None:
    lowered, state, amount = lower(add)
    program = Tentative(lowered, RIGHT, {})
    first = program(state, amount)
    assert state["a"].is_deleted()
    program.try_options()
    second = program(first, amount)
    assert not first["a"].is_deleted()
    program(second, amount)
    assert second["a"].is_deleted()


def test_only_a_gpu_s_options_may_be_left_out() -> None:
    lowered, state, amount = lower(add)
    assert isinstance(compiling.compile_repeated(lowered, "cpu"), jax.stages.Compiled)
    assert isinstance(compiling.compile_lowered(lowered, "gpu"), jax.stages.Compiled)
    program = compiling.compile_repeated(lowered, "gpu")
    assert isinstance(program, Tentative)
    # A CPU's compiler knows a GPU's options, too.
    assert (program.options, program.wanted) == ({}, compiling.COMPILER_OPTIONS["gpu"])
    assert program(state, amount)["a"].tolist() == [2, 3, 4]
    program.try_options()
    assert program.options == compiling.COMPILER_OPTIONS["gpu"]


def test_the_second_training_of_a_process_tries_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tentative] = []

    def tentative(lowered: jax.stages.Lowered, *_: Any, **__: Any) -> Tentative:
        made.append(Tentative(lowered, RIGHT, {}))
        return made[-1]

    monkeypatch.setattr(programs_module, "compile_repeated", tentative)
    programs_module._programs_of.cache_clear()
    recipe = get_recipe("tiny").override(epochs=1.5)
    data = load_data("builtin").head(recipe.train_examples, recipe.test_examples)
    first = train(recipe, data, 0)
    assert [program.options for program in made] == [{}, {}]
    assert first.seconds["compile"] > 0
    stages: list[str] = []
    second = train(recipe, data, 0, on_phase=lambda stage: stages.append(str(stage)))
    assert "compile" in " ".join(stages)
    assert [program.options for program in made] == [RIGHT, RIGHT]
    np.testing.assert_allclose(second.metrics.loss, first.metrics.loss, rtol=1e-5)
    assert not programs_module._programs_of.cache_info().misses > 1
    third = train(recipe, data, 0)
    assert third.seconds["compile"] < 0.1
    np.testing.assert_array_equal(third.metrics.loss, second.metrics.loss)
    programs_module._programs_of.cache_clear()


def test_products_of_patches_are_no_graph_of_a_loop() -> None:
    # The compiler of jax 0.10.1 would end the process, and nothing could be tried after that.
    native, products = (compiling.compiler_options("gpu", form) for form in ("native", "matmul"))
    assert native["xla_gpu_enable_command_buffer"] == f"{products['xla_gpu_enable_command_buffer']},WHILE"
    assert compiling.compiler_options("cpu", "matmul") == compiling.compiler_options("cpu")
