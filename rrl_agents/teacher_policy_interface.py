"""The interface of a Python policy that serves as a teacher: observations in, scores out.

    class MyTeacher:
        name, game, version = "ppo-breakout", "breakout", "2024-05-01"
        num_actions, observation_shape, observation_dtype = 4, (84, 84, 4), "uint8"
        output, temperature = "logits", 1.0

        def evaluate(self, observations): ...   # [B, 84, 84, 4] -> float32 [B, 4]

    def make_teacher():
        return MyTeacher()

    rrl teacher serve --checkpoint my_package:make_teacher

Only the attributes matter: your package need not import this one. B is the number of rows in a
batch, at least 1; A the number of actions.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class ScoringPolicy(Protocol):
    """A frozen policy that gives every action a score.

    Attributes:
        name: Human-readable name.
        game: Game or task it plays, e.g. "breakout"; "unknown" leaves it to the user.
        version: Identifies the answers: the same version must always give the same answers.
        num_actions: Number of actions A; scores come in the environment's order of actions.
        observation_shape: Shape of one observation, e.g. (84, 84, 4) with the oldest frame first,
            or (8,).
        observation_dtype: Type of the raw, unscaled observations: "uint8" or "float32".
        output: Kind of scores: "q_values", expected returns, or "logits" of the policy.
        temperature: Divides logits before the softmax, above 0, None for 1; None for Q-values.
    """

    name: str
    game: str
    version: str
    num_actions: int
    observation_shape: tuple[int, ...]
    observation_dtype: str
    output: str
    temperature: float | None

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Score every action.

        Called by one thread at a time. Rows are independent: a row's scores must not depend on the
        rest of the batch. Represent a probability of 0 by a large negative logit, not minus
        infinity.

        Args:
            observations: [B, *observation_shape] of `observation_dtype`, which may be modified.

        Returns:
            float32 [B, A], finite.
        """
