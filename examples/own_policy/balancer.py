"""A policy for CartPole-v1 with the interface of stable-baselines3's models, in numpy alone.

It stands for whatever you have trained: `model.predict(observation)` acts, and
`model.policy.get_distribution(observations).distribution.logits` holds the policy itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Cart position, cart velocity, pole angle, pole velocity: push to where the pole falls.
_WEIGHTS = np.asarray([[0.0, 0.5], [0.0, 1.0], [0.0, 20.0], [0.0, 5.0]], np.float32)


class Categorical:
    """Probabilities of the actions, as torch.distributions.Categorical holds them.

    Attributes:
        logits: float32 [B, 2], the logarithms of the probabilities.
    """

    def __init__(self, logits: NDArray[np.float32]) -> None:
        largest = logits.max(axis=1, keepdims=True)
        total = np.exp(logits - largest).sum(axis=1, keepdims=True)
        self.logits: NDArray[np.float32] = logits - largest - np.log(total)


class Distribution:
    """What stable-baselines3 wraps around it.

    Attributes:
        distribution: The probabilities.
    """

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self.distribution = Categorical(logits)


class LinearPolicy:
    """The policy: a linear function of what is observed."""

    def get_distribution(self, observations: NDArray[np.float32]) -> Distribution:
        """The policy in each of a batch of states, float32 [B, 4]."""
        return Distribution(observations @ _WEIGHTS)


class Balancer:
    """The model, as `stable_baselines3.PPO.load` gives one.

    Attributes:
        policy: Its policy.
    """

    def __init__(self) -> None:
        self.policy = LinearPolicy()

    def predict(
        self, observation: NDArray[np.float32], deterministic: bool = False
    ) -> tuple[NDArray[np.int64], Any]:
        """Act in a batch of states.

        Args:
            observation: float32 [B, 4].
            deterministic: Whether to take the most probable action instead of drawing one.

        Returns:
            int64 [B], and the state of a recurrent policy, which this one is not.
        """
        logits = self.policy.get_distribution(observation).distribution.logits
        if deterministic:
            return logits.argmax(axis=1), None
        noise = np.random.default_rng().gumbel(size=logits.shape)
        return (logits + noise).argmax(axis=1), None
