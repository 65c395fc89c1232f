"""How long a guide acts before the student may, a function of `actor_steps` (JSRL).

Uchendu et al., 2022, arXiv:2204.02372: the teacher plays the first k steps of an episode, k is
drawn for each, and the range it is drawn from shrinks until the student plays alone.
"""

from __future__ import annotations

from collections.abc import Callable


def shrinking_horizon(
    initial_steps: int, decay: float, iteration_steps: int
) -> Callable[[int], int]:
    """The longest roll-in K, which each iteration multiplies by `decay` and rounds down.

    Args:
        initial_steps: K at the beginning, decisions, at least 0.
        decay: Factor of one iteration, in [0, 1).
        iteration_steps: Decisions of the students that an iteration lasts, at least 1.

    Returns:
        `actor_steps -> K`.
    """

    def horizon(actor_steps: int) -> int:
        steps, iterations = initial_steps, actor_steps // iteration_steps
        while steps > 0 and iterations > 0:
            steps, iterations = int(steps * decay), iterations - 1
        return steps

    return horizon
