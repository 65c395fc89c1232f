"""The hardware and code versions of a run, for the card of its student.

Nothing here identifies a machine or a person, and nothing fails: unknown facts are left out.
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
    """CPU, usable cores, memory and GPUs, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Equal ones are counted: "8 x NVIDIA H100".
    gpus = [f"{count} x {gpu}" for gpu, count in Counter(_gpus()).items()]
    return ", ".join(
        [
            f"{len(os.sched_getaffinity(0))} cores of {_cpu_model()}",
            f"{round(memory / 2**30)} GiB memory",
            *(gpus or ["no GPU"]),
        ]
    )


def describe_code() -> str:
    """Versions of this package, with its commit if known, of Python and of libraries."""
    libraries = ", ".join(filter(None, map(_version, _LIBRARIES)))
    own = _version(_DISTRIBUTION) or f"{_DISTRIBUTION} (not installed)"
    return f"{own}{_commit()} (python {platform.python_version()}, {libraries})"


def _commit() -> str:
    """The commit, as text to append, if the code runs from its own git checkout."""
    file = Path(__file__).resolve()
    git = ("git", "-C", str(file.parent))
    # An installed package may lie in another project's checkout, which does not track this file.
    if not _output(*git, "ls-files", "--", file.name):
        return ""
    # Without tags: "COMMIT", or "COMMIT-dirty" with uncommitted changes.
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
    # The tool does not accept the names of GPU slices: list all GPUs then.
    return _output(*_GPU_QUERY, f"--id={chosen}") or _output(*_GPU_QUERY)


def _version(package: str) -> str:
    """As "name version"; empty if not installed."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ""


def _output(*command: str) -> list[str]:
    """The lines that a command prints; none if it is missing, fails, or takes too long."""
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
