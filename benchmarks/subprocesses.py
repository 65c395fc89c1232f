"""Benchmarks run by another benchmark, each in its own process, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.harness import Flags


def outcome(name: str, *arguments: str, flags: Flags) -> dict[str, Any]:
    """Run a benchmark in the size that is asked for, and show what it prints.

    Args:
        name: Its module.
        *arguments: Its own flags.
        flags: Of the caller.

    Returns:
        The JSON object that it ends with; its "ratios" are by name.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", name, *arguments, "--json"]
    if flags.size != "full":
        command.insert(3, f"--{flags.size}")
    print(f"\n$ {' '.join(command[1:])}", flush=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for last in process.stdout:
            if not last.startswith("{"):
                print(last, end="", flush=True)
    if process.returncode:
        raise RuntimeError(f"{name} failed; its error is above")
    found: dict[str, Any] = json.loads(last)
    return found
