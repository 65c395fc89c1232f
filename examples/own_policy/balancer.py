"""A policy for CartPole-v1 with the interface of Stable-Baselines3's models, in plain numpy.

It stands for your own trained model: `model.predict(observation)` acts, and
`model.policy.get_distribution(observations).distribution.logits` is the policy itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Cart position, cart velocity, pole angle, pole velocity: push in the direction of the fall.
_WEIGHTS = np.asarray([[0.0, 0.5], [0.0, 1.0], [0.0, 20.0], [0.0, 5.0]], np.float32)


class Categorical:
    """Action probabilities, like torch.distributions.Categorical.

    Attributes:
        logits: float32 [B, 2], the logarithms of the probabilities.
    """

    def __init__(self, logits: NDArray[np.float32]) -> None:
        largest = logits.max(axis=1, keepdims=True)
        total = np.exp(logits - largest).sum(axis=1, keepdims=True)
        self.logits: NDArray[np.float32] = logits - largest - np.log(total)


class Distribution:
    """Stable-Baselines3's wrapper around it.

    Attributes:
        distribution: The probabilities.
    """

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self.distribution = Categorical(logits)


class LinearPolicy:
    """The policy: a linear function of the observation."""

    def get_distribution(self, observations: NDArray[np.float32]) -> Distribution:
        """The policy for a batch of states, float32 [B, 4]."""
        return Distribution(observations @ _WEIGHTS)


class Balancer:
    """The model, as `stable_baselines3.PPO.load` returns it.

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
            deterministic: Whether to take the most probable action instead of sampling one.

        Returns:
            int64 [B], and None for the state of a recurrent policy.
        """
        logits = self.policy.get_distribution(observation).distribution.logits
        if deterministic:
            return logits.argmax(axis=1), None
        noise = np.random.default_rng().gumbel(size=logits.shape)
        return (logits + noise).argmax(axis=1), None
