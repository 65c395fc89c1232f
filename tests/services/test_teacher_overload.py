"""Five hundred clients at once on a real teacher: bounded memory, prompt refusals, quick recovery.

The benchmark itself is what runs: its numbers for a minute are in the operating guide.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 500
REQUEST_MIB = 32 * 84 * 84 * 4 / 2**20
QUEUE_MIB = 4096 * 84 * 84 * 4 / 2**20
# Interpreter heaps, gRPC's own buffers.
SLACK_MIB = 512.0


@pytest.fixture(scope="module")
def reports() -> dict[str, dict[str, Any]]:
    """What the benchmark saw, by flood."""
    command = (sys.executable, "-m", "benchmarks.teacher.overload", "--quick", "--json")
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["floods"]
    return found


def test_memory_stays_within_what_clients_may_have_under_way(
    reports: dict[str, dict[str, Any]],
) -> None:
    for report in reports.values():
        grown = report["memory_peak_mib"] - report["memory_before_mib"]
        # Of each client one request that is read, and once more as gRPC hands it over.
        assert grown < 2 * CLIENTS * REQUEST_MIB + QUEUE_MIB + SLACK_MIB


def test_what_is_too_much_is_refused_and_the_rest_is_answered(
    reports: dict[str, dict[str, Any]],
) -> None:
    for report in reports.values():
        assert set(report["ended"]) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
        assert report["answered"] > 0
    # 16,000 states at once do not fit a queue of 4,096, 500 do.
    assert reports["stream, 32 states"]["rejected"]["full"] > 0
    assert not reports["unary, 1 state"]["rejected"].get("full")


def test_the_teacher_is_itself_again_as_soon_as_the_clients_have_left(
    reports: dict[str, dict[str, Any]],
) -> None:
    for report in reports.values():
        assert report["first_ms"] < report["idle_ms"] + 250.0
        assert report["after_ms"] < 3 * report["idle_ms"] + 10.0
