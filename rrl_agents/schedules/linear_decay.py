"""Linear decay by `actor_steps`, for exploration and a guide's share."""

from __future__ import annotations

from collections.abc import Callable


def linear_decay(
    initial: float, final: float, decay_steps: int, *, warmup_steps: int = 0
) -> Callable[[int], float]:
    """Linear decay from the initial to the final value, like epsilon in Mnih et al., 2015.

    Args:
        initial: Value until the decay begins.
        final: Value from its end on.
        decay_steps: Length of the decay in decisions, at least 1.
        warmup_steps: Decisions before it begins; Dopamine's epsilon waits for the minimal replay
            size, so that it falls as learning begins.

    Returns:
        `actor_steps -> value`.
    """

    def value(actor_steps: int) -> float:
        fraction_left = (decay_steps + warmup_steps - actor_steps) / decay_steps
        return final + (initial - final) * min(max(fraction_left, 0.0), 1.0)

    return value
