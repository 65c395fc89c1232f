"""What a run is made with: hardware and versions of code, for the card of its student.

Nothing here names a machine or a person, and nothing fails: what cannot be found out is left out.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections import Counter
from importlib import metadata
from pathlib import Path

_DISTRIBUTION = "rrl-agents"
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "dm-reverb", "ale-py")
_CPU_INFO = Path("/proc/cpuinfo")
_TIMEOUT_SECONDS = 5.0
_GPU_QUERY = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


def describe_hardware() -> str:
    """CPU, usable cores, memory and GPUs in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Alike ones are counted: "8 x NVIDIA H100".
    gpus = [f"{count} x {gpu}" for gpu, count in Counter(_gpus()).items()]
    return ", ".join(
        [
            f"{len(os.sched_getaffinity(0))} cores of {_cpu_model()}",
            f"{round(memory / 2**30)} GiB memory",
            *(gpus or ["no GPU"]),
        ]
    )


def describe_code() -> str:
    """Versions of this package, with its commit where that is known, of Python and libraries."""
    libraries = ", ".join(filter(None, map(_version, _LIBRARIES)))
    return f"{_version(_DISTRIBUTION)}{_commit()} (python {platform.python_version()}, {libraries})"


def _commit() -> str:
    """The commit that is run from a git checkout of its own, as text to append."""
    file = Path(__file__).resolve()
    git = ("git", "-C", str(file.parent))
    # Installed packages may lie in somebody else's checkout, which does not track this file.
    if not _output(*git, "ls-files", "--", file.name):
        return ""
    # Without tags: "COMMIT", or "COMMIT-dirty", which is one with uncommitted changes.
    described = _output(*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return "".join(f", commit {commit}" for commit in described)


def _cpu_model() -> str:
    named = re.search(r"model name\s*: (.+)", _CPU_INFO.read_text(errors="replace"))
    return named[1].strip() if named is not None else platform.machine()


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return _output(*_GPU_QUERY)
    if chosen.strip() in ("", "-1"):
        return []
    # Slices of a GPU have names that the tool does not take: then all there are.
    return _output(*_GPU_QUERY, f"--id={chosen}") or _output(*_GPU_QUERY)


def _version(package: str) -> str:
    """As "name version"; empty where it is not installed."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ""


def _output(*command: str) -> list[str]:
    """The lines that a command prints; none when it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = done.stdout.decode(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]
