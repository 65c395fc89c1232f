"""A number that falls along a line, a function of `actor_steps`: exploration, a guide's share."""

from __future__ import annotations

from collections.abc import Callable


def linear_decay(
    initial: float, final: float, decay_steps: int, *, warmup_steps: int = 0
) -> Callable[[int], float]:
    """From the initial to the final value along a line, as epsilon in Mnih et al., 2015.

    Args:
        initial: Value until the decay begins.
        final: Value from its end on.
        decay_steps: Decisions it lasts, at least 1.
        warmup_steps: Decisions before it begins; Dopamine's epsilon waits for the minimal replay
            size, so that it falls as learning begins.

    Returns:
        `actor_steps -> value`.
    """

    def value(actor_steps: int) -> float:
        fraction_left = (decay_steps + warmup_steps - actor_steps) / decay_steps
        return final + (initial - final) * min(max(fraction_left, 0.0), 1.0)

    return value
