"""Programs compiled with options that may fail, and then compiled again without them."""

import warnings
from typing import Any

import jax

Options = dict[str, str | bool]


class Tentative:
    """A compiled program, called as `jax.stages.Compiled` is, whose options are given up where they fail.

    Options fail while the program is compiled, or in its first call: a GPU's compiler accepts graphs that its libraries
    cannot capture, or for which the device has too little memory. So the first call waits for its results, and works on
    copies of the arguments that it donates. After that the program is as it is.
    """

    def __init__(self, lowered: jax.stages.Lowered, options: Options, plain: Options) -> None:
        """Compile with options, or with the plain ones."""
        self.options, self._plain = options, plain
        self._lowered: jax.stages.Lowered | None = lowered  # None: nothing is left to try
        try:
            self.compiled = lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            self._give_up(error, "in the compiler")

    def __call__(self, *arguments: Any) -> Any:
        """Run the program."""
        if self._lowered is None:
            return self.compiled(*arguments)
        try:
            results = jax.block_until_ready(self.compiled(*_spared(self._lowered, arguments)))
        except jax.errors.JaxRuntimeError as error:
            self._give_up(error, "in a program's first call")
            return self.compiled(*arguments)
        self._lowered = None
        return results

    def as_text(self) -> str | None:
        """Return the compiled program as text."""
        return self.compiled.as_text()

    def memory_analysis(self) -> Any:
        """Return the compiler's account of the program's memory."""
        return self.compiled.memory_analysis()

    def cost_analysis(self) -> Any:
        """Return the compiler's account of the program's operations."""
        return self.compiled.cost_analysis()

    def _give_up(self, error: Exception, where: str) -> None:
        assert self._lowered is not None
        lost = sorted(self.options.keys() - self._plain.keys())
        # Python shows the same warning once.
        warnings.warn(
            f"compiler options failed {where} and are left out, which may cost speed: {', '.join(lost)} "
            f"({str(error).strip().splitlines()[0]})",
            stacklevel=3,
        )
        self.options = self._plain
        self.compiled = self._lowered.compile(compiler_options=self._plain)
        self._lowered = None


def _spared(lowered: jax.stages.Lowered, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    # The arguments, with copies of those arrays that the program may overwrite.
    infos, _ = lowered.args_info
    return jax.tree.map(
        lambda info, value: _copy(value) if info.donated else value,
        infos,
        arguments,
    )


def _copy(value: Any) -> Any:
    return jax.device_put(value, value.sharding, may_alias=False) if isinstance(value, jax.Array) else value
