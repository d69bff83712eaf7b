"""What a process compiles once."""

import jax

from airjax.training.compile import compiled_once


def test_programs_are_of_the_settings_of_jax_under_which_they_were_compiled() -> None:
    calls: list[tuple[object, ...]] = []

    @compiled_once(maxsize=4)
    def compile_for(*arguments: object) -> int:
        calls.append(arguments)
        return len(calls)

    assert [compile_for("a", 1), compile_for("a", 1), compile_for("a", True)] == [1, 1, 2]
    with jax.default_matmul_precision("highest"):
        assert [compile_for("a", 1), compile_for("a", 1)] == [3, 3]
    assert compile_for("a", 1) == 1
    assert compile_for.cache_info().misses == 3
