"""Schedules of the exploration rate, functions of `actor_steps`."""

from __future__ import annotations

from collections.abc import Callable


def linear_decay(
    *, final_epsilon: float, decay_steps: int, warmup_steps: int = 0
) -> Callable[[int], float]:
    """Epsilon falls from 1 to its final value along a line (Mnih et al., 2015).

    Args:
        final_epsilon: Value from the end of the decay on, in [0, 1].
        decay_steps: Decisions the decay lasts, at least 1.
        warmup_steps: Decisions before it begins, with epsilon 1; Dopamine uses the minimal replay
            size, so that it begins with learning.

    Returns:
        `actor_steps -> epsilon`.

    Raises:
        ValueError: When a number is out of range.
    """
    if not 0.0 <= final_epsilon <= 1.0:
        raise ValueError(f"final_epsilon is {final_epsilon}; use 0 to 1")
    if decay_steps < 1 or warmup_steps < 0:
        raise ValueError(
            f"decay_steps is {decay_steps}, warmup_steps {warmup_steps}; use at least 1 and 0"
        )

    def epsilon(actor_steps: int) -> float:
        fraction_left = (decay_steps + warmup_steps - actor_steps) / decay_steps
        return final_epsilon + (1.0 - final_epsilon) * min(max(fraction_left, 0.0), 1.0)

    return epsilon
