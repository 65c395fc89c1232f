"""The number of steps that a guide acts before the student, by `actor_steps` (JSRL).

Uchendu et al., 2022, arXiv:2204.02372: the teacher plays the first k steps of an episode; k is
drawn for each episode from a range that shrinks until the student plays alone.
"""

from __future__ import annotations

from collections.abc import Callable


def shrinking_horizon(
    initial_steps: int, decay: float, iteration_steps: int
) -> Callable[[int], int]:
    """The longest roll-in K, which each iteration multiplies by `decay` and rounds down.

    Args:
        initial_steps: Initial K in decisions, at least 0.
        decay: Factor of one iteration, in [0, 1).
        iteration_steps: Student decisions in an iteration, at least 1.

    Returns:
        `actor_steps -> K`.
    """

    def horizon(actor_steps: int) -> int:
        steps, iterations = initial_steps, actor_steps // iteration_steps
        while steps > 0 and iterations > 0:
            steps, iterations = int(steps * decay), iterations - 1
        return steps

    return horizon
