"""The compose stack for real: built, up, hurt and down, wherever there is a Docker engine."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "deploy" / "compose" / "check.py"
# Seven minutes on two busy cores, and a few more for the first build of the images.
TIMEOUT_SECONDS = 2400


def reason_without_engine() -> str | None:
    spec = importlib.util.spec_from_file_location("stack", CHECK.with_name("stack.py"))
    assert spec is not None and spec.loader is not None
    stack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stack)
    reason: str | None = stack.missing_engine()
    return reason


@pytest.mark.timeout(TIMEOUT_SECONDS + 60)
def test_the_stack_comes_up_works_survives_kills_scales_and_goes() -> None:
    if reason := reason_without_engine():
        pytest.skip(f"no Docker engine with compose v2 here, deploy/compose/check.py: {reason}")
    done = subprocess.run(
        [sys.executable, CHECK], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
