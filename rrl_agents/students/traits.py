"""What makes a student what its name says; sizes and numbers beside it are free."""

from __future__ import annotations

from collections.abc import Mapping

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.students.registry import STUDENTS


def traits(network: NetworkConfig, learning: StudentConfig) -> Mapping[str, str]:
    """The settings that tell one student from another, as "name" -> what it is.

    A number stands for the part that it switches on: prioritised replay with another exponent is
    still Rainbow's, with the exponent 0 it is C51's.

    Args:
        network: The student's network.
        learning: How it learns.
    """
    return {
        "network.name": network.name,
        "network.head": network.head,
        "network.dueling": str(network.dueling),
        "network.noisy": str(network.noisy),
        "student.double": str(learning.double),
        "student.priority_exponent": _switch(learning.priority_exponent),
        "student.random_shift": _switch(learning.random_shift),
        "student.intensity_scale": _switch(learning.intensity_scale),
    }


def broken_promises(name: str, network: NetworkConfig, learning: StudentConfig) -> tuple[str, ...]:
    """How a student differs from what its name says, a text for each setting; none if it does not.

    Args:
        name: Key of `STUDENTS`.
        network: The network it has.
        learning: How it learns.
    """
    named, found = _of(name), traits(network, learning)
    return tuple(
        f"{setting} is {found[setting]}, {name} has {named[setting]}"
        for setting in named
        if found[setting] != named[setting]
    )


def name_of(network: NetworkConfig, learning: StudentConfig) -> str | None:
    """The student of the registry with the same traits, None where there is none."""
    found = traits(network, learning)
    return next((name for name in STUDENTS if _of(name) == found), None)


def _of(name: str) -> Mapping[str, str]:
    return traits(STUDENTS[name].network, STUDENTS[name].learning)


def _switch(number: float) -> str:
    return "above 0" if number > 0 else "0"
