"""Programs that are compiled once more, with options that may fail, after they have run without them."""

import warnings
from typing import Any

import jax

Options = dict[str, str | bool]


class Tentative:
    """A compiled program, called as `jax.stages.Compiled` is; `try_options` compiles it with options that may fail.

    It has to have run before that. A library loads a kernel when that is first launched, which a CUDA graph cannot
    capture: in a process that finds its programs and its choice of kernels on disk, and so has launched nothing yet,
    an H200's cuDNN fails with CUDNN_STATUS_EXECUTION_FAILED, or has no handle ("No DNN support for stream").

    Options fail in the compiler, or in the first call with them: not every convolution can be captured, and the device
    may have too little memory. So that call waits for its results, and works on copies of the arguments that it
    donates. A program whose options fail goes on without them, with a warning.
    """

    def __init__(self, lowered: jax.stages.Lowered, options: Options, plain: Options) -> None:
        """Compile with the plain options; the others are for `try_options`."""
        self.options = self._plain = plain
        self.compiled = lowered.compile(compiler_options=plain)
        self._lowered, self.wanted = lowered, options
        self._called = self._tried = False
        self._without: jax.stages.Compiled | None = None  # to go back to; None: nothing is tried at the moment

    def __call__(self, *arguments: Any) -> Any:
        """Run the program."""
        self._called = True
        if self._without is None:
            return self.compiled(*arguments)
        try:
            results = jax.block_until_ready(self.compiled(*_spared(self._lowered, arguments)))
        except jax.errors.JaxRuntimeError as error:
            self._give_up(error, self._without, "in a program's first call")
            return self.compiled(*arguments)
        self._without = None
        return results

    @property
    def can_try(self) -> bool:
        """Whether the program has run, and its options are still to be tried."""
        return self._called and not self._tried

    def try_options(self) -> None:
        """Compile with the options, if that can be tried."""
        if not self.can_try:
            return
        self._tried, without = True, self.compiled
        try:
            self.compiled = self._lowered.compile(compiler_options=self.wanted)
        except jax.errors.JaxRuntimeError as error:
            self._give_up(error, without, "in the compiler")
        else:
            self._without, self.options = without, self.wanted

    def as_text(self) -> str | None:
        """Return the compiled program as text."""
        return self.compiled.as_text()

    def memory_analysis(self) -> Any:
        """Return the compiler's account of the program's memory."""
        return self.compiled.memory_analysis()

    def cost_analysis(self) -> Any:
        """Return the compiler's account of the program's operations."""
        return self.compiled.cost_analysis()

    def _give_up(self, error: Exception, without: jax.stages.Compiled, where: str) -> None:
        lost = sorted(self.wanted.keys() - self._plain.keys())
        # Python shows the same warning once.
        warnings.warn(
            f"compiler options failed {where} and are left out, which may cost speed: {', '.join(lost)} "
            f"({str(error).strip().splitlines()[0]})",
            stacklevel=3,
        )
        self.compiled, self.options, self._without = without, self._plain, None


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
