"""Schedules of the learning rate, functions of the progress."""

from __future__ import annotations

from collections.abc import Callable

from rrl_agents.types import Progress, Stage


def constant(learning_rate: float) -> Callable[[Progress], float]:
    """The same learning rate throughout, above 0."""
    return following_weaning(taught=learning_rate, weaned=learning_rate)


def following_weaning(*, taught: float, weaned: float) -> Callable[[Progress], float]:
    """Learning rate lambda * taught + (1 - lambda) * weaned, as in QDagger's released code.

    Args:
        taught: Rate while the teacher's weight lambda is 1, above 0.
        weaned: Rate once lambda is 0, above 0.

    Raises:
        ValueError: When a rate is not positive.
    """
    for rate in (taught, weaned):
        if rate <= 0.0:
            raise ValueError(f"learning rate is {rate}; use a number above 0")

    def learning_rate(progress: Progress) -> float:
        weight = progress.weaning_weight
        return weight * taught + (1.0 - weight) * weaned

    return learning_rate


def by_stage(*, offline: float, online: float) -> Callable[[Progress], float]:
    """One learning rate before the online stage, another from then on.

    Args:
        offline: Rate of the offline stage, above 0.
        online: Rate of the online stage, above 0.

    Raises:
        ValueError: When a rate is not positive.
    """
    offline_rate, online_rate = constant(offline), constant(online)

    def learning_rate(progress: Progress) -> float:
        return (offline_rate if progress.stage < Stage.ONLINE else online_rate)(progress)

    return learning_rate
