"""On what and from which source a device is measured, and what the parts' processes are told; standard library only."""

import hashlib
import os
import platform
import subprocess
from pathlib import Path


def device_name() -> str:
    """Model of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def source_name(root: Path) -> str:
    """Return what is measured: the checkout's commit, with "+" where it differs; in a copy of one what AIRJAX_COMMIT
    says.

    Without either, a digest of the source files.
    """
    if (root / ".git").exists():
        try:
            commit = git(root, "rev-parse", "--short=12", "HEAD")
            changed = git(
                root, "status", "--porcelain", "--untracked-files=no", "--", "airjax", "parity", "benchmarks/*.py"
            )
            return commit + ("+" if changed else "")
        except (OSError, subprocess.SubprocessError):
            pass
    if named := os.environ.get("AIRJAX_COMMIT"):
        return named
    digest = hashlib.sha256()
    for folder in ("airjax", "parity", "benchmarks"):
        for file in sorted((root / folder).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return f"source-{digest.hexdigest()[:12]}"


def git(root: Path, *arguments: str) -> str:
    """Return what git prints."""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def environment_of(work: Path, root: Path, source: str, gpu: bool) -> dict[str, str]:
    """Return the environment of a part's process: unbuffered, named source, and compilers that keep what they found.

    A GPU's kernels are chosen by their time. JAX keeps the choices beside its compiled programs, from where the next
    process has them; for people, and to repeat a run exactly (--xla_gpu_load_autotune_results_from), they are also
    written as a file. Its name is always the same, because XLA_FLAGS are part of the key of every compiled program.
    """
    caches = work / "caches"
    caches.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "PYTHONUNBUFFERED": "1",
        "AIRJAX_COMMIT": source,
        "JAX_COMPILATION_CACHE_DIR": str(caches / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "torch"),
    }
    if gpu:
        chosen = os.path.relpath(caches / "autotune.txtpb", root)
        environment["XLA_FLAGS"] = (
            f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_dump_autotune_results_to={chosen}".strip()
        )
    return environment
