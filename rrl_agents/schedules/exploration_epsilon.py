"""Schedules of the exploration rate, functions of `actor_steps`."""

from __future__ import annotations

from collections.abc import Callable


def linear_decay(
    *,
    final_epsilon: float,
    decay_steps: int,
    warmup_steps: int = 0,
    initial_epsilon: float = 1.0,
) -> Callable[[int], float]:
    """Epsilon goes from its initial to its final value along a line (Mnih et al., 2015).

    Args:
        final_epsilon: Value from the end of the decay on, in [0, 1].
        decay_steps: Decisions the decay lasts, at least 1.
        warmup_steps: Decisions before it begins; Dopamine uses the minimal replay size, so that it
            begins with learning.
        initial_epsilon: Value until the decay begins, in [0, 1].

    Returns:
        `actor_steps -> epsilon`.

    Raises:
        ValueError: When a number is out of range.
    """
    for name, value in (("final_epsilon", final_epsilon), ("initial_epsilon", initial_epsilon)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}; use 0 to 1")
    if decay_steps < 1 or warmup_steps < 0:
        raise ValueError(
            f"decay_steps is {decay_steps}, warmup_steps {warmup_steps}; use at least 1 and 0"
        )

    def epsilon(actor_steps: int) -> float:
        fraction_left = (decay_steps + warmup_steps - actor_steps) / decay_steps
        return final_epsilon + (initial_epsilon - final_epsilon) * min(max(fraction_left, 0.0), 1.0)

    return epsilon
