"""The number of cores this process may use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> float:
    """Cores available to this process, at most the CPU quota of its container.

    Args:
        cgroup: Folder of this process's control group, version 2 or 1.
    """
    cores = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return cores if quota == "max" else min(cores, int(quota) / int(period))
    with contextlib.suppress(OSError, ValueError):
        files = (cgroup / "cpu" / f"cpu.cfs_{name}_us" for name in ("quota", "period"))
        quota_us, period_us = (int(file.read_text()) for file in files)
        return cores if quota_us <= 0 else min(cores, quota_us / period_us)
    return cores
