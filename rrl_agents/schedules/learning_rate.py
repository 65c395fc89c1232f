"""Schedules of the learning rate, functions of the progress."""

from __future__ import annotations

from collections.abc import Callable

from rrl_agents.ranges import check_range
from rrl_agents.types import Progress, Stage


def constant(learning_rate: float) -> Callable[[Progress], float]:
    """The same learning rate throughout, above 0."""
    return by_stage(offline=learning_rate, online=learning_rate)


def following_weaning(*, taught: float, weaned: float) -> Callable[[Progress], float]:
    """Learning rate lambda * taught + (1 - lambda) * weaned, as in QDagger's released code.

    Args:
        taught: Rate while the teacher's weight lambda is 1, above 0.
        weaned: Rate once lambda is 0, above 0.
    """
    check_range("taught learning rate", taught, above=0)
    check_range("weaned learning rate", weaned, above=0)

    def learning_rate(progress: Progress) -> float:
        weight = progress.weaning_weight
        return weight * taught + (1.0 - weight) * weaned

    return learning_rate


def by_stage(*, offline: float, online: float) -> Callable[[Progress], float]:
    """One learning rate before the online stage, another from then on, both above 0."""
    check_range("offline learning rate", offline, above=0)
    check_range("online learning rate", online, above=0)
    return lambda progress: offline if progress.stage < Stage.ONLINE else online
