"""The CPU time of a run by role and phase, read from /proc while it runs."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.request
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from rrl_client.addresses import parse_address
from services.launcher.run_addresses import RunAddresses, read_addresses

LAUNCHER = "launcher"
"""Processes of a run that have no metrics page: its launcher, and what comes and goes."""

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_SECONDS = 2.0
_SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


class Moment(NamedTuple):
    """What a run and its machine have spent and done so far.

    Attributes:
        wall: Seconds on a clock.
        busy: CPU seconds of all processes on the cores that are watched.
        spent: CPU seconds by role.
        counts: Samples of the roles' metrics pages, as `name{labels}`, summed over roles.
    """

    wall: float
    busy: float
    spent: Mapping[str, float]
    counts: Mapping[str, float]


class RunWatch:
    """Reads a run's processes and metrics pages.

    Args:
        launcher: Process id of `rrl train`.
        run: Its folder.
        cores: Which the run may use.
        counted: Names of the samples that are wanted of the pages.
    """

    def __init__(
        self, launcher: int, run: Path, cores: Collection[int], counted: Collection[str]
    ) -> None:
        self._launcher = launcher
        self._run = run
        self._cores = cores
        self._counted = counted
        self._spent: dict[tuple[int, float], float] = {}
        self._roles: dict[int, str] = {}
        self._pages: dict[str, dict[str, float]] = {}

    def look(self, wall: float) -> Moment:
        """Look at all of them now.

        Args:
            wall: Seconds on the caller's clock.
        """
        addresses = read_addresses(self._run)
        processes = self._processes()
        for process in processes:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                # A process that ends keeps what it had when it was last seen.
                self._spent[process.pid, process.create_time()] = times.user + times.system
        if addresses is not None:
            self._find_roles(processes, addresses)
            self._read_pages(addresses)
        spent: dict[str, float] = {}
        for (pid, _), seconds in self._spent.items():
            role = self._roles.get(pid, LAUNCHER)
            spent[role] = spent.get(role, 0.0) + seconds
        counts: dict[str, float] = {}
        for page in self._pages.values():
            for name, value in page.items():
                counts[name] = counts.get(name, 0.0) + value
        return Moment(wall, self._busy(), spent, counts)

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            launcher = psutil.Process(self._launcher)
            return [launcher, *launcher.children(recursive=True)]
        return []

    def _find_roles(self, processes: list[psutil.Process], addresses: RunAddresses) -> None:
        """A role's process is the one that listens at its metrics page."""
        roles = {parse_address(page).port: name for name, page in addresses.pages.items()}
        if set(roles.values()) <= set(self._roles.values()):
            return
        for process in processes:
            with contextlib.suppress(psutil.Error):
                for connection in process.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN and connection.laddr.port in roles:
                        self._roles[process.pid] = roles[connection.laddr.port]

    def _read_pages(self, addresses: RunAddresses) -> None:
        for role, address in addresses.pages.items():
            with contextlib.suppress(OSError):
                page = urllib.request.urlopen(f"http://{address}/metrics", timeout=_PAGE_SECONDS)
                text = page.read().decode()
                self._pages[role] = {
                    f"{name}{{{labels}}}" if labels else name: float(value)
                    for name, labels, value in _SAMPLE.findall(text)
                    if name in self._counted
                }

    def _busy(self) -> float:
        """CPU seconds of user and system on these cores since the machine started."""
        ticks = 0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name.startswith("cpu") and name[3:] and int(name[3:]) in self._cores:
                # user, nice, system; then idle, iowait; then irq, softirq, steal.
                ticks += sum(map(int, fields[:3])) + sum(map(int, fields[5:8]))
        return ticks / _TICKS_PER_SECOND
