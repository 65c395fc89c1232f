"""What the allocator's settings do to a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

PAGES = 3_600_000 // os.sysconf("SC_PAGE_SIZE")

PROGRAM = """
import json, resource, threading, time
from services.shared.allocator import keep_large_buffers

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def pass_messages(count):
    for _ in range(count):
        received = bytes(3_600_000)
        copied = bytearray(received)
        del received, copied

kept = keep_large_buffers(check_seconds=0.1) and keep_large_buffers()
pass_messages(5)
before = faults()
pass_messages(50)
per_message = (faults() - before) / 50
start = resident()
burst = [b"x" * 900_000 for _ in range(500)]
# In the end small blocks lie above it, as they do in any process.
pins = [bytearray(2_000) for _ in range(100)]
peak = resident()
del burst
end = time.monotonic() + (200 if kept else 0)
while resident() - start > 300_000_000 and time.monotonic() < end:
    time.sleep(0.02)
threads = [thread.name for thread in threading.enumerate()]
print(json.dumps(dict(kept=kept, threads=threads, per_message=per_message, peak=peak - start,
                      left=resident() - start)))
"""


def measure(**environment: str) -> dict[str, Any]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    result = measure()
    if not result["kept"]:
        pytest.skip("missing program: glibc 2.33 or later")
    return result


def test_messages_reuse_the_memory_of_those_before(measured: dict[str, Any]) -> None:
    # Fresh memory would be two buffers of 3.6 MB, each page a fault.
    assert measured["per_message"] < 2 * PAGES / 20


def test_what_a_burst_leaves_behind_has_a_bound(measured: dict[str, Any]) -> None:
    # 500 x 0.9 MB = 450 MB in use; then at most 256 MiB = 268 MB, and a little for the edges.
    assert measured["peak"] > 440e6
    assert measured["left"] < 256 * 2**20 + 20e6


def test_the_operators_own_settings_are_left_alone() -> None:
    assert not measure(MALLOC_ARENA_MAX="4")["kept"]
    assert not measure(GLIBC_TUNABLES="glibc.malloc.arena_max=4")["kept"]


def test_several_services_in_a_process_share_one_thread(measured: dict[str, Any]) -> None:
    assert measured["threads"] == ["MainThread", "allocator"]
