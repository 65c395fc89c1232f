from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.shared.cores import usable_cores

CORES = float(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, CORES),
        ({"cpu.max": "max 100000\n"}, CORES),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        # A quota of more cores than the scheduler gives brings none.
        ({"cpu.max": "100000000 100000\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.25),
        ({"cpu.max": "nonsense"}, CORES),
    ],
)
def test_cores_are_the_schedulers_and_at_most_the_containers(
    files: dict[str, str], expected: float, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert usable_cores(tmp_path) == expected
