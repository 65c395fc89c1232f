"""A model with Stable-Baselines3's interface, wrapped for the teacher service.

It imports nothing from rrl: the service uses the attributes only, which
rrl_agents/teacher_policy_interface.py describes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from own_policy.balancer import Balancer


class BalancerTeacher:
    """Scores of the two actions of CartPole-v1: the logits of a policy."""

    name = "own-policy example"
    game = "CartPole-v1"
    num_actions = 2
    observation_shape = (4,)
    observation_dtype = "float32"
    # A policy gradient method learns a policy. For DQN use "q_values", and None below.
    output = "logits"
    # The policy is softmax(logits / 1.0).
    temperature = 1.0
    # Change this whenever the answers change: e.g. the SHA-256 of the file with the weights.
    version = "1"

    def __init__(self, model: Balancer) -> None:
        self._model = model

    def evaluate(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits float32 [B, 2] of states float32 [B, 4]."""
        # With Stable-Baselines3, whose policies work on tensors:
        #
        #     with torch.no_grad():
        #         states, _ = self._model.policy.obs_to_tensor(observations)
        #         logits = self._model.policy.get_distribution(states).distribution.logits
        #         return logits.float().cpu().numpy()
        #
        # and for its DQN, `self._model.q_net(states)` instead of the logits.
        logits: NDArray[np.float32] = self._model.policy.get_distribution(
            observations
        ).distribution.logits
        return logits


def make_teacher() -> BalancerTeacher:
    """Load the model; the service calls this once, without arguments."""
    # With Stable-Baselines3:
    #
    #     return BalancerTeacher(stable_baselines3.PPO.load("cartpole.zip", device="cpu"))
    return BalancerTeacher(Balancer())
