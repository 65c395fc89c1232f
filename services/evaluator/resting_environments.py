"""N single environments, of which those that have played their share rest.

Episodes differ in length: while the longest one is played to its end, a vector environment would
step the others in vain. If a step costs much more than a call, as with an emulator, separate
environments cost no more, and resting ones cost nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.vector_environment import Step, VectorEnvironment


class RestingEnvironments:
    """Like `VectorEnvironment`, with `rest`.

    Attributes:
        spec: Shapes, actions and limits.
        num_envs: Number of environments N.
    """

    def __init__(self, make_one: Callable[[], VectorEnvironment], num_envs: int) -> None:
        """Make the environments.

        Args:
            make_one: Makes one of them.
            num_envs: N, at least 1.
        """
        with contextlib.ExitStack() as made:
            self._ones = [
                made.enter_context(contextlib.closing(make_one())) for _ in range(num_envs)
            ]
            self._open = made.pop_all()
        self.spec = self._ones[0].spec
        self.num_envs = num_envs
        self._playing = [*range(num_envs)]
        self._observation: NDArray[Any] = np.empty(0)

    def reset(self, seed: int) -> NDArray[Any]:
        """Start N new episodes, none resting; environment i is seeded with seed + i.

        Returns:
            [N, *observation_shape], first observations.

        Raises:
            ValueError: When the seed is out of range.
        """
        self._playing = [*range(self.num_envs)]
        first = [one.reset(seed + env) for env, one in enumerate(self._ones)]
        # In the memory order of a single environment, so that rows are copied contiguously.
        self._observation = np.empty_like(first[0], shape=(self.num_envs, *first[0].shape[1:]))
        for env, observation in enumerate(first):
            self._observation[env] = observation[0]
        return self._observation.copy(order="K")

    def rest(self, env: int) -> None:
        """Stop stepping an environment until the next reset; its observation stays the same."""
        self._playing.remove(env)

    def step(self, action: NDArray[np.int64]) -> Step:
        """Act, int64 [N], in environments that play; resting ones give no reward and do not end.

        Raises:
            ValueError: When an action is not one of 0 .. A - 1.
        """
        for env in self._playing:
            self._ones[env].begin_step(action[env : env + 1])
        reward = np.zeros(self.num_envs, np.float32)
        terminated, truncated = (np.zeros(self.num_envs, np.bool_) for _ in range(2))
        # Steps of a resting environment do not count.
        starts = np.ones(self.num_envs, np.bool_)
        metrics: dict[str, NDArray[np.float64]] = {}
        for env in self._playing:
            one = self._ones[env].finish_step()
            self._observation[env] = one.observation[0]
            reward[env], terminated[env] = one.reward[0], one.terminated[0]
            truncated[env], starts[env] = one.truncated[0], one.episode_start[0]
            for name, values in one.metrics.items():
                metrics.setdefault(name, np.zeros(self.num_envs))[env] = values[0]
        observation = self._observation.copy(order="K")
        return Step(observation, reward, terminated, truncated, starts, metrics)

    def close(self) -> None:
        """Free the environments."""
        self._open.close()
