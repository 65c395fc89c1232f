"""Programs that some tests run and a machine may lack: a skip names its program."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_PROBE_SECONDS = 120.0
_OLDEST, _NEWEST = 10, 14


def need(program: str, source: str) -> str:
    """Path of a program; without it the test is skipped.

    Args:
        program: Its name on PATH.
        source: Where it comes from, for the reason.
    """
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"missing program: {program} ({source})")
    return found


def need_compose() -> None:
    """Skip the test without Docker's client and its plugin for compose v2; no engine is asked."""
    if not _works("docker", "compose", "version"):
        pytest.skip("missing program: docker compose v2 (`docker compose version` fails)")


def need_engine() -> None:
    """Skip the test without a Docker engine that answers, and compose v2."""
    need_compose()
    if not _works("docker", "info"):
        pytest.skip("missing program: a Docker engine (`docker info` fails)")


def need_other_python() -> str:
    """An interpreter of another version than this one; without one the test is skipped."""
    if found := other_python():
        return found
    own = sys.version_info[1]
    versions = [f"3.{minor}" for minor in range(_OLDEST, _NEWEST + 1) if minor != own]
    pytest.skip(f"missing program: another Python version ({', '.join(versions)})")


def need_oldest_python() -> str:
    """An interpreter of the oldest version that clients run on; without one the test is skipped."""
    if found := _python(_OLDEST):
        return found
    pytest.skip(f"missing program: Python 3.{_OLDEST}")


def need_newest_python() -> str:
    """An interpreter of a version newer than this one; without one the test is skipped."""
    for minor in range(_NEWEST, sys.version_info[1], -1):
        if found := _python(minor):
            return found
    pytest.skip(f"missing program: a Python from 3.{sys.version_info[1] + 1} to 3.{_NEWEST}")


def other_python() -> str | None:
    """An interpreter of another version, found by running candidates; a name may be a shim."""
    return next(filter(_is_another_version, _candidates()), None)


def _python(minor: int) -> str | None:
    """An interpreter of a version, found by running candidates."""
    wanted = f"import sys, venv, ssl; sys.exit(sys.version_info[:2] != {(3, minor)})"
    return next((one for one in _candidates() if _works(one, "-I", "-c", wanted)), None)


def _candidates() -> Iterator[str]:
    names = [f"python3.{minor}" for minor in range(_NEWEST, _OLDEST - 1, -1)]
    yield from filter(None, map(shutil.which, [*names, "python3"]))
    yield from map(str, sorted(Path.home().glob(".pyenv/versions/*/bin/python"), reverse=True))


def _is_another_version(python: str) -> bool:
    program = (
        "import sys, venv, ssl;"
        f"fits = {(3, _OLDEST)} <= sys.version_info[:2] <= {(3, _NEWEST)};"
        f"sys.exit(not fits or sys.version_info[:2] == {sys.version_info[:2]})"
    )
    return _works(python, "-I", "-c", program)


def _works(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
