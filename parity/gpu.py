"""Which GPU this machine has, told without starting JAX or torch."""

import subprocess


def gpu_name() -> str | None:
    """Model of the first GPU as its driver names it; None without one."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.splitlines() or [None])[0]
