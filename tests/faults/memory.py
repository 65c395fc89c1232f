"""Whether memory, open files and threads of the roles stay bounded over many faults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tests.faults.watch import Usage

_MOST_RSS_MIB = 1_200.0
_MOST_DESCRIPTORS = 400
_MOST_THREADS = 400
_SLACK = 40
"""About twice what a role of the small system holds when all is well."""


@dataclasses.dataclass(kw_only=True)
class Life:
    """One process over several faults.

    Attributes:
        first: What it held after the second fault that it lived through: by then it is warm.
        last: What it held after the latest.
        faults: How many it has lived through.
    """

    first: Usage
    last: Usage
    faults: int = 1

    @property
    def growth_mib(self) -> float:
        """How much more it holds than at first."""
        return self.last.rss_mib - self.first.rss_mib


class Memory:
    """Follows what all processes hold."""

    def __init__(self) -> None:
        """Know of none."""
        self._lives: dict[int, Life] = {}
        self.most: dict[str, Usage] = {}
        """The largest resident memory of each role, and what it held beside it."""

    def look(self, usages: Iterable[Usage]) -> None:
        """Take in what there is after a fault."""
        for usage in usages:
            if usage.role not in self.most or usage.rss_mib > self.most[usage.role].rss_mib:
                self.most[usage.role] = usage
            life = self._lives.get(usage.pid)
            if life is None:
                self._lives[usage.pid] = Life(first=usage, last=usage)
                continue
            life.faults += 1
            life.last = usage
            if life.faults == 2:
                life.first = usage

    def longest_lives(self) -> dict[str, Life]:
        """Of each role, the process that lived through most faults."""
        found: dict[str, Life] = {}
        for life in self._lives.values():
            role = life.last.role
            if role not in found or life.faults > found[role].faults:
                found[role] = life
        return found

    def left_over(self, usages: Iterable[Usage]) -> list[str]:
        """What processes hold beyond what they held when they were warm: somebody's leavings."""
        problems = []
        for usage in usages:
            life = self._lives.get(usage.pid)
            if life is None or life.faults < 2:
                continue
            for what, found, first in (
                ("open files", usage.descriptors, life.first.descriptors),
                ("threads", usage.threads, life.first.threads),
            ):
                if found > first + _SLACK:
                    problems.append(f"{usage.role} holds {found} {what}, and held {first}")
        return problems

    @staticmethod
    def excesses(usages: Iterable[Usage]) -> list[str]:
        """What is more than any role may hold."""
        problems = []
        for usage in usages:
            for what, found, most in (
                ("MiB of memory", usage.rss_mib, _MOST_RSS_MIB),
                ("open files", usage.descriptors, _MOST_DESCRIPTORS),
                ("threads", usage.threads, _MOST_THREADS),
            ):
                if found > most:
                    problems.append(f"{usage.role} holds {found:.0f} {what}, at most {most:.0f}")
        return problems
