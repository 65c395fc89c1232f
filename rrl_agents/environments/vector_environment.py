"""N copies of one environment, stepped in parallel by an actor or the evaluator.

Each is a vector environment of Gymnasium that starts an episode on the call after the last one's
end: ale-py's emulators, or N games of one player, stepped one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import FrameStackObservation, TimeLimit
from numpy.typing import NDArray

from rrl_agents.ranges import check_range
from rrl_agents.types import EnvironmentSpec


class Step(NamedTuple):
    """The result of `step`, one row per environment.

    Attributes:
        observation: [N, *observation_shape] of the spec's type, oldest frame first; not changed by
            later steps.
        reward: float32 [N], raw (unclipped) reward of the action.
        terminated: bool [N], the episode ended by the game's rules: no bootstrap.
        truncated: bool [N], the episode reached the step limit: returns bootstrap there.
        episode_start: bool [N], this observation is the first of a new episode. Its action was
            ignored and there is no transition into it: the call after an end only resets.
        metrics: Name -> float64 [N], further metrics of an episode besides its return, averaged
            over its steps. They come from `info["metrics"]` of a step; most environments have none.
    """

    observation: NDArray[Any]
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    episode_start: NDArray[np.bool_]
    metrics: Mapping[str, NDArray[np.float64]] = MappingProxyType({})


class VectorEnvironment:
    """N environments stepped in parallel; each starts a new episode on the call after an end.

    Attributes:
        spec: Shapes, actions and limits.
        num_envs: Number of environments N.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        environments: VectorEnv[Any, Any, Any],
        *,
        has_threads: bool = False,
    ) -> None:
        """Wrap the environments.

        Args:
            spec: The spec that all of them share.
            environments: Of `AutoresetMode.NEXT_STEP`; they observe frames [N, *frame], or stacks
                of them [N, stack, *frame].
            has_threads: Whether they step in their own threads, between `send` and `recv`.
        """
        self.spec = spec
        self.num_envs = environments.num_envs
        self._environments: Any = environments
        self._has_threads = has_threads
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)

    def reset(self, seed: int) -> NDArray[Any]:
        """Start N fresh episodes; environment i is seeded with seed + i.

        Args:
            seed: At least 0; with N added it must fit 31 bits, as emulators' seeds are int32.

        Returns:
            [N, *observation_shape], first observations.

        Raises:
            ValueError: When the seed is out of range.
        """
        check_range("seed", seed, least=0, most=2**31 - 1 - self.num_envs)
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        return self._stack_last(self._environments.reset(seed=seed)[0])

    def step(self, action: NDArray[np.int64]) -> Step:
        """Act, int64 [N]; an environment whose episode has ended starts a new one instead.

        Raises:
            ValueError: When an action is not one of 0 .. A - 1 (emulators would not check).
        """
        self.begin_step(action)
        return self.finish_step()

    def begin_step(self, action: NDArray[np.int64]) -> None:
        """The first half of `step`: environments with threads act while the caller computes.

        Those without threads act in `finish_step`.

        Raises:
            ValueError: As `step`.
        """
        if action.min() < 0 or action.max() >= self.spec.num_actions:
            raise ValueError(
                f"actions are {action}; {self.spec.name} has 0 to A - 1 with "
                f"A = {self.spec.num_actions}"
            )
        if self._has_threads:
            self._environments.send(action)
        else:
            self._action = action

    def finish_step(self) -> Step:
        """The second half of `step`; it must follow each `begin_step`."""
        observation, reward, terminated, truncated, info = (
            self._environments.recv()
            if self._has_threads
            else self._environments.step(self._action)
        )
        step = Step(
            observation=self._stack_last(observation),
            reward=reward.astype(np.float32),
            terminated=terminated,
            # A game that ends on its last allowed frame has ended by its rules.
            truncated=truncated & ~terminated,
            episode_start=self._ended,
            metrics=_metrics(info),
        )
        self._ended = terminated | truncated
        return step

    def rest(self, env: int) -> None:
        """Note that an environment need not be stepped until the next reset."""

    def draw(self) -> NDArray[np.uint8] | None:
        """The rendering of environment 0, uint8 [H, W, 3]; None if it does not render."""
        if self._environments.render_mode != "rgb_array":
            return None
        drawn: NDArray[np.uint8] = self._environments.render()[0]
        return drawn

    @property
    def frames_per_second(self) -> float | None:
        """Rendered steps per second at natural speed; None if unknown."""
        rate: float | None = self._environments.metadata.get("render_fps")
        return rate

    def close(self) -> None:
        """Free the environments."""
        self._environments.close()

    def _stack_last(self, observation: NDArray[Any]) -> NDArray[Any]:
        """[N, *observation_shape], without a copy."""
        if observation.ndim > 1 + len(self.spec.frame_shape):
            return np.moveaxis(observation, 1, -1)
        return observation.reshape(self.num_envs, *self.spec.observation_shape)


def _metrics(info: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """The metrics of all environments; Gymnasium adds a mask with a "_" before each name."""
    found = info.get("metrics", {})
    return {
        name: np.asarray(values, np.float64)
        for name, values in found.items()
        if not name.startswith("_")
    }


def one_by_one(
    make: Callable[[], gymnasium.Env[Any, Any]],
    num_envs: int,
    *,
    name: str,
    max_episode_steps: int | None,
    stack_size: int = 1,
    frame_low: tuple[float, ...] = (),
    frame_high: tuple[float, ...] = (),
) -> VectorEnvironment:
    """N games of one player, stepped one after the other.

    Args:
        make: Makes one of them, with Box observations of uint8 or float32 and discrete actions.
        num_envs: Number of environments N, at least 1.
        name: Name of the game or task.
        max_episode_steps: Decisions after which an episode is truncated; None for the environment's
            own limit, if any.
        stack_size: Frames in one observation; an episode starts padded with zeros.
        frame_low: As in `EnvironmentSpec`.
        frame_high: As in `EnvironmentSpec`.
    """

    def game() -> gymnasium.Env[Any, Any]:
        limited: gymnasium.Env[Any, Any] = make()
        if max_episode_steps is not None:
            limited = TimeLimit(limited, max_episode_steps)
        if stack_size == 1:
            return limited
        return FrameStackObservation(limited, stack_size, padding_type="zero")

    one: Any = make()
    limit = min(_own_limit(one), max_episode_steps or sys.maxsize)
    spec = EnvironmentSpec(
        name=name,
        frame_shape=one.observation_space.shape,
        stack_size=stack_size,
        num_actions=int(one.action_space.n),
        frames_per_step=1,
        max_episode_steps=limit,
        frame_dtype=str(one.observation_space.dtype),
        frame_low=frame_low,
        frame_high=frame_high,
    )
    one.close()
    games = SyncVectorEnv([game] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
    return VectorEnvironment(spec, games)


def _own_limit(environment: gymnasium.Env[Any, Any]) -> int:
    """Decisions after which an environment's own wrappers truncate an episode."""
    limits, layer = [sys.maxsize], environment
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, TimeLimit):
            limits.append(int(layer._max_episode_steps))
        layer = layer.env
    return min(limits)
