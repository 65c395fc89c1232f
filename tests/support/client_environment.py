"""Environments with the distribution rrl-client alone, and a teacher to ask from them."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHES = ROOT / ".cache"

_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def run(*command: str | Path, cwd: Path = ROOT, timeout: float = 900) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_client(folder: Path) -> Path:
    """The wheel of rrl-client.

    Args:
        folder: Empty; the wheel is made there, from a copy: a build in the checkout leaves files
            there that a later build would pick up.
    """
    source = folder / "rrl_client"
    shutil.copytree(ROOT / "rrl_client", source, ignore=shutil.ignore_patterns("__pyc*"))
    run(*_PIP, "wheel", "--no-build-isolation", "--no-deps", "-w", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def client_python(python: str, wheel: Path, *packages: str) -> str:
    """The interpreter of an environment with the client's wheel, what it needs, and more packages.

    What is of the index stays between runs; the client is installed again.
    """
    version = run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    folder = CACHES / "-".join(("client", version, *packages))
    interpreter = folder / "bin" / "python"
    if not interpreter.is_file():
        run(python, "-m", "venv", "--clear", "--without-pip", folder)
    pip = (*_PIP, "--python", interpreter, "install")
    run(*pip, wheel, *packages)
    run(*pip, "--force-reinstall", "--no-deps", wheel)
    return str(interpreter)


@contextlib.contextmanager
def bundled_teacher() -> Iterator[str]:
    """Address of the bundled teacher, served by a process of this environment."""
    flags = ("--checkpoint", "pong_dqn", "--port", "0", "--metrics-port", "None")
    command = (sys.executable, "-m", "services.cli.main", "teacher", "serve", *flags)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            ready = re.search(r"ready at (\S+):\s", service.stdout.readline())
            assert ready, "the teacher did not start"
            yield ready[1]
        finally:
            service.terminate()
            service.communicate(timeout=20)
