"""What requirements bring along, of the packages of this environment."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

from packaging.requirements import Requirement


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions that requirements name, and of all that those require."""
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        for extra in requirement.extras or {""}:
            if (requirement.name, extra) not in seen:
                seen.add((requirement.name, extra))
                lines = map(Requirement, _required_by(requirement.name))
                waiting += [needed for needed in lines if _applies(needed, extra)]
    return {name for name, _ in seen}


def _required_by(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        # An override of the lock leaves it out, as tensorflow beside tensorflow-cpu.
        return []


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})
