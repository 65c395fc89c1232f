"""How long a guide acts before the student may, a function of the progress (JSRL).

Uchendu et al., 2022, arXiv:2204.02372: the teacher plays the first k steps of an episode, k is
drawn anew for each, and the range it is drawn from shrinks until the student plays alone.
"""

from __future__ import annotations

from collections.abc import Callable


def shrinking_horizon(
    *, initial_steps: int, decay: float, iteration_steps: int
) -> Callable[[int], int]:
    """The longest roll-in K, which each iteration multiplies by `decay` and rounds down.

    Args:
        initial_steps: K at the beginning, decisions, at least 0.
        decay: Factor of one iteration, in [0, 1).
        iteration_steps: Decisions of the students that an iteration lasts, at least 1.

    Returns:
        `actor_steps -> K`.

    Raises:
        ValueError: When a number is out of range.
    """
    if initial_steps < 0 or iteration_steps < 1:
        raise ValueError(
            f"initial_steps is {initial_steps}, iteration_steps {iteration_steps}; use at least 0 "
            "and 1"
        )
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"decay of the roll-in is {decay}; use at least 0 and below 1")

    def horizon(actor_steps: int) -> int:
        steps = initial_steps
        for _ in range(actor_steps // iteration_steps):
            if steps == 0:
                break
            steps = int(steps * decay)
        return steps

    return horizon


def falling_share(*, initial_share: float, decay_steps: int) -> Callable[[int], float]:
    """The share of steps that the guide takes after the roll-in; falls to 0 along a line.

    Args:
        initial_share: Probability at the beginning, in [0, 1].
        decay_steps: Decisions of the students until it is 0, at least 1.

    Returns:
        `actor_steps -> share`.

    Raises:
        ValueError: When a number is out of range.
    """
    if not 0.0 <= initial_share <= 1.0:
        raise ValueError(f"share of the guide is {initial_share}; use 0 to 1")
    if decay_steps < 1:
        raise ValueError(f"decay_steps of the guide's share is {decay_steps}; use 1 or more")

    def share(actor_steps: int) -> float:
        return initial_share * max(0.0, 1.0 - actor_steps / decay_steps)

    return share
