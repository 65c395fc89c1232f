"""What a run is made with: hardware and versions of code, for the card of its student.

Nothing here names a machine or a person, and nothing fails: what cannot be found out is left out.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

_DISTRIBUTION = "rrl-agents"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "dm-reverb", "ale-py")
_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY_INFO = Path("/proc/meminfo")
_TIMEOUT_SECONDS = 5.0
_GPU_QUERY = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


def describe_hardware() -> str:
    """CPU, usable cores, memory and GPUs in one line."""
    memory = _field(_MEMORY_INFO, r"MemTotal:\s*(\d+) kB")
    parts = [f"{_usable_cores()} cores of {_cpu_model()}"]
    if memory is not None:
        parts.append(f"{round(int(memory) / 2**20)} GiB memory")
    gpus = _gpus()
    # Alike ones are counted: "8 x NVIDIA H100".
    parts += [f"{gpus.count(gpu)} x {gpu}" for gpu in dict.fromkeys(gpus)] or ["no GPU"]
    return ", ".join(parts)


def code_version() -> str:
    """Version of this package; with the commit where it is run from a git checkout of its own."""
    version = f"{_DISTRIBUTION} {_version(_DISTRIBUTION) or 'of unknown version'}"
    file = Path(__file__).resolve()
    # Installed packages may lie in somebody else's checkout, which does not track this file.
    tracked = _output("git", "-C", str(file.parent), "ls-files", "--", file.name)
    if not tracked.strip():
        return version
    commit = _output("git", "-C", str(file.parent), "rev-parse", "HEAD").strip()
    changes = _output("git", "-C", str(file.parent), "status", "--porcelain", "-uno").strip()
    if not re.fullmatch("[0-9a-f]{40,64}", commit):
        return version
    return f"{version}, commit {commit}{' with uncommitted changes' if changes else ''}"


def package_versions() -> tuple[str, ...]:
    """Python and the packages that the numbers depend on, as "name version"."""
    found = ((name, _version(name)) for name in _PACKAGES)
    return (
        f"python {platform.python_version()}",
        *(f"{name} {version}" for name, version in found if version is not None),
    )


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    named = _field(_CPU_INFO, r"model name\s*: (.+)")
    return named or platform.processor() or platform.machine() or "an unknown CPU"


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and chosen.strip() in ("", "-1"):
        return []
    # Slices of a GPU have names that the tool does not take: then all there are.
    names = _output(*_GPU_QUERY, f"--id={chosen}") if chosen is not None else ""
    names = names or _output(*_GPU_QUERY)
    return [line.strip() for line in names.splitlines() if line.strip()]


def _field(file: Path, pattern: str) -> str | None:
    try:
        found = re.search(pattern, file.read_text(errors="replace"))
    except OSError:
        return None
    return found[1].strip() if found is not None else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str:
    """What a command prints; nothing when it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
