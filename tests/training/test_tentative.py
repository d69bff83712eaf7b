"""Programs whose compiler options fail, while compiling or in the first call, run without them and say so."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.data.builtin import load_builtin
from airjax.recipes.published import get_recipe
from airjax.training import compile as compiling
from airjax.training import programs as programs_module
from airjax.training.loop import train
from airjax.training.tentative import Tentative

NO_SUCH = {"xla_no_such_option": "1"}
RIGHT = {"xla_backend_optimization_level": "1"}


def add(state: Any, amount: jax.Array) -> Any:
    return jax.tree.map(lambda array: array + amount, state)


def lower(function: Any) -> tuple[jax.stages.Lowered, Any, jax.Array]:
    state, amount = {"a": jnp.arange(3.0), "b": [jnp.ones((2, 2))]}, jnp.asarray(2.0)
    return jax.jit(function, donate_argnums=0).lower(state, amount), state, amount


def test_options_that_compile_and_run_stay() -> None:
    lowered, state, amount = lower(add)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = Tentative(lowered, RIGHT, {})
        out = program(state, amount)
        assert program(out, amount)["a"].tolist() == [4, 5, 6]
    assert program.options == RIGHT
    assert "add" in (program.as_text() or "")
    assert program.memory_analysis() is not None


def test_options_that_the_compiler_refuses_are_left_out_with_a_warning() -> None:
    lowered, state, amount = lower(add)
    with pytest.warns(UserWarning, match="failed in the compiler and are left out.*xla_no_such_option.*No such"):
        program = Tentative(lowered, RIGHT | NO_SUCH, RIGHT)
    assert program.options == RIGHT
    assert program(state, amount)["a"].tolist() == [2, 3, 4]


class FailsOnce:
    """A function that the program calls, which raises in its first call: as the capture of a graph may."""

    calls = 0

    def __call__(self, amount: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("cannot be captured")
        return np.asarray(amount)


def test_options_that_fail_in_the_first_call_are_left_out_and_no_argument_is_lost() -> None:
    called = FailsOnce()

    def add_called(state: Any, amount: jax.Array) -> Any:
        return add(state, jax.pure_callback(called, jax.ShapeDtypeStruct((), jnp.float32), amount))

    lowered, state, amount = lower(add_called)
    program = Tentative(lowered, RIGHT, {})
    with pytest.warns(UserWarning, match="in a program's first call.*xla_backend_optimization_level.*INTERNAL"):
        out = program(state, amount)
    assert out["a"].tolist() == [2, 3, 4]
    assert out["b"][0].tolist() == [[3, 3], [3, 3]]
    assert program.options == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert program(out, amount)["a"].tolist() == [4, 5, 6]
    assert called.calls == 3


def test_a_program_that_fails_without_options_too_raises() -> None:
    lowered, *_ = lower(add)
    with pytest.warns(UserWarning, match="in the compiler"), pytest.raises(jax.errors.JaxRuntimeError, match="No such"):
        Tentative(lowered, RIGHT | NO_SUCH, NO_SUCH)


def test_the_first_call_alone_copies_what_it_donates() -> None:
    lowered, state, amount = lower(add)
    program = Tentative(lowered, RIGHT, {})
    out = program(state, amount)
    assert not state["a"].is_deleted()
    program(out, amount)
    assert out["a"].is_deleted()


def test_only_a_gpu_s_options_may_be_left_out() -> None:
    lowered, state, amount = lower(add)
    assert isinstance(compiling.compile_repeated(lowered, "cpu"), jax.stages.Compiled)
    assert isinstance(compiling.compile_lowered(lowered, "gpu"), jax.stages.Compiled)
    program = compiling.compile_repeated(lowered, "gpu")
    assert isinstance(program, Tentative)
    # A CPU's compiler knows a GPU's options, too.
    assert program.options == compiling.COMPILER_OPTIONS["gpu"]
    assert program(state, amount)["a"].tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    "recipe", ["tiny", pytest.param("tiny on growing images", marks=[pytest.mark.slow, pytest.mark.nightly])]
)
def test_a_step_runs_without_options_before_any_are_tried(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A graph cannot capture what a library launches for the first time.
    options = {} if recipe == "tiny" else {"curriculum": True, "curriculum_sizes": (24,), "curriculum_epochs": (0.5,)}
    small = get_recipe("tiny").override(epochs=1.0, **options)
    plain = train(small, load_builtin(256, 100), 0)
    events: list[str] = []

    def lowered_alone(lowered: jax.stages.Lowered, *arguments: Any, **how: Any) -> Any:
        compiled, donated = compile_lowered(lowered, *arguments, **how), jax.tree.leaves(lowered.args_info)

        def call(*given: Any) -> Any:
            results = compiled(*given)
            if any(info.donated for info in donated):  # a step, not what runs once
                events.append(f"{int(results[0].step[0])} step runs")
            return results

        return call

    def repeated(lowered: jax.stages.Lowered, *_: Any, **__: Any) -> Any:
        program = Tentative(lowered, RIGHT, {})

        def call(*given: Any) -> Any:
            events.append("options are tried")
            return program(*given)

        return call

    compile_lowered = compiling.compile_lowered
    monkeypatch.setattr(compiling, "OPTIONAL", ("cpu",))
    monkeypatch.setattr(programs_module, "compile_lowered", lowered_alone)
    monkeypatch.setattr(programs_module, "compile_repeated", repeated)
    programs_module._programs_of.cache_clear()
    tried = train(small, load_builtin(256, 100), 0)
    programs_module._programs_of.cache_clear()
    assert events.count("1 step runs") == (1 if recipe == "tiny" else 2)  # for each size of images
    assert events[0] == "1 step runs"
    assert events[-1] == "options are tried"
    np.testing.assert_allclose(tried.metrics.loss, plain.metrics.loss, rtol=1e-5)


def test_products_of_patches_are_no_graph_of_a_loop() -> None:
    # The compiler of jax 0.10.1 would end the process, and nothing could be tried after that.
    native, products = (compiling.compiler_options("gpu", form) for form in ("native", "matmul"))
    assert native["xla_gpu_enable_command_buffer"] == f"{products['xla_gpu_enable_command_buffer']},WHILE"
    assert compiling.compiler_options("cpu", "matmul") == compiling.compiler_options("cpu")
