"""The platform that JAX computes on, and the one error for a JAX that cannot start or cannot compile."""

import jax


class DeviceError(ValueError):
    """JAX that cannot compute here, or devices that are missing; the message names the remedy."""


def default_platform() -> str:
    """Start JAX if it has not started, and return what it computes on: "cpu", "gpu" or "tpu".

    Raises DeviceError where JAX cannot start, or where JAX_DISABLE_JIT keeps it from compiling anything.
    """
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        raise DeviceError(
            "JAX_DISABLE_JIT is set, but airjax compiles its programs ahead of time: unset it (or jax.disable_jit)"
        )
    try:
        return jax.default_backend()
    # A platform that jax knows but that has no plugin ends in an assertion without a message.
    except (RuntimeError, AssertionError) as error:
        wanted = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
        named = f"the platform {wanted!r}" if wanted else "any platform"
        reason = (str(error).strip() or "no plugin for it is installed").splitlines()[0]
        raise DeviceError(
            f"JAX cannot start {named} ({reason}); check JAX_PLATFORMS, and that the accelerator's package is "
            "installed: pip install 'jax[cuda12]', 'jax[cuda13]' or 'jax[tpu]'"
        ) from error
