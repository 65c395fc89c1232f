"""CPU time and resident memory of a process and its children, from /proc."""

from __future__ import annotations

import psutil


def cpu_seconds(pid: int) -> float:
    """CPU time so far, user and system, of a process and all below it, in seconds."""
    return sum(times.user + times.system for times in (each.cpu_times() for each in _tree(pid)))


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and all below it; what they share counts for each."""
    return sum(each.memory_info().rss for each in _tree(pid))


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
