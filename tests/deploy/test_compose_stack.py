"""The compose stack for real: built, up, hurt and down, wherever there is a Docker engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import need_engine

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "deploy" / "compose" / "check.py"
# Seven minutes on two busy cores, and a few more for the first build of the images.
TIMEOUT_SECONDS = 2400


@pytest.mark.timeout(TIMEOUT_SECONDS + 60)
def test_the_stack_comes_up_works_survives_kills_scales_and_goes() -> None:
    need_engine()
    done = subprocess.run(
        [sys.executable, CHECK], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
