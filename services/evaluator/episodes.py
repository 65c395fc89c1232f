"""Plays whole episodes on N environments, a fixed number on each.

Counting the first episodes to finish would favour short ones, so every environment plays its share
to the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rrl_agents.environments.vector_environment import VectorEnvironment
    from services.evaluator.resting_environments import RestingEnvironments

ActionValues = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Observations [N, *observation_shape] to float32 [N, A]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlayedEpisodes:
    """The result of episodes.

    Attributes:
        returns: Undiscounted, unclipped return of each episode.
        steps: Agent steps in each episode.
        metrics: Further metrics of the environment: name -> mean over each episode's steps.
        first_episode_frames: The newest frame, [*frame], of every step of environment 0's first
            episode.
    """

    returns: tuple[float, ...]
    steps: tuple[int, ...]
    first_episode_frames: Sequence[NDArray[Any]]
    metrics: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)


class _Episode(NamedTuple):
    """A finished episode: its return, steps and metrics."""

    score: float
    steps: int
    metrics: Mapping[str, float]


def shares(episodes: int, num_envs: int) -> NDArray[np.int64]:
    """Episodes of each environment, int64 [N], as even as possible; they sum to `episodes`."""
    return np.asarray([episodes // num_envs + (i < episodes % num_envs) for i in range(num_envs)])


def play_episodes(
    environment: VectorEnvironment | RestingEnvironments,
    action_values: ActionValues,
    *,
    episodes: int,
    epsilon: float,
    seed: int,
    should_stop: Callable[[], bool],
    on_steps: Callable[[int], None] = lambda steps: None,
    on_episode: Callable[[], None] = lambda: None,
    on_share: Callable[[int], None] = lambda env: None,
) -> PlayedEpisodes | None:
    """Play epsilon-greedily until every environment has finished its share.

    Args:
        environment: N environments.
        action_values: Action values of states.
        episodes: Total number of episodes.
        epsilon: Probability of a uniformly random action.
        seed: Seed of the episodes and of the random actions.
        should_stop: Called before every step.
        on_steps: Called with the agent steps of each step of the N environments.
        on_episode: Called when an episode ends, even one beyond its environment's share.
        on_share: Called with the index of each environment that has played its share, or has none:
            it need not be stepped any further.

    Returns:
        The episodes, environment by environment; None if stopped before the end.
    """
    num_envs, num_actions = environment.num_envs, environment.spec.num_actions
    left = shares(episodes, num_envs)
    random = np.random.default_rng(seed)
    observations = environment.reset(seed)
    for env in np.flatnonzero(left == 0):
        on_share(int(env))
    running_return, running_steps = np.zeros(num_envs), np.zeros(num_envs, np.int64)
    finished: list[list[_Episode]] = [[] for _ in range(num_envs)]
    sums: dict[str, NDArray[np.float64]] = {}
    # Copies, because a view would keep the whole batch of observations alive, gigabytes over an
    # episode.
    frames = [environment.spec.newest_frames(observations[0]).copy()]
    while left.any():
        if should_stop():
            return None
        explores = random.random(num_envs) < epsilon
        actions = np.where(
            explores,
            random.integers(0, num_actions, num_envs),
            action_values(observations).argmax(axis=1),
        )
        step = environment.step(actions)
        observations = step.observation
        # The call after an end only resets: it has no reward and is not a step.
        running_return += step.reward * ~step.episode_start
        running_steps += ~step.episode_start
        for name, values in step.metrics.items():
            sums[name] = sums.get(name, np.zeros(num_envs)) + values * ~step.episode_start
        on_steps(int(np.count_nonzero(~step.episode_start)))
        if not finished[0]:
            frames.append(environment.spec.newest_frames(observations[0]).copy())
        for env in np.flatnonzero(step.terminated | step.truncated):
            on_episode()
            if left[env]:
                steps = int(running_steps[env])
                means = {name: float(sums[name][env]) / steps for name in sums}
                finished[env].append(_Episode(float(running_return[env]), steps, means))
                left[env] -= 1
                if left[env] == 0:
                    on_share(int(env))
            for running in (running_return, running_steps, *sums.values()):
                running[env] = 0
    played = [episode for of_one in finished for episode in of_one]
    return PlayedEpisodes(
        returns=tuple(episode.score for episode in played),
        steps=tuple(episode.steps for episode in played),
        metrics={name: tuple(episode.metrics[name] for episode in played) for name in sums},
        first_episode_frames=frames,
    )


def joined(parts: Sequence[PlayedEpisodes]) -> PlayedEpisodes:
    """Joins parts that were played one after the other; keeps the first part's frames."""
    first, *_ = parts
    return PlayedEpisodes(
        returns=tuple(score for part in parts for score in part.returns),
        steps=tuple(steps for part in parts for steps in part.steps),
        metrics={
            name: tuple(value for part in parts for value in part.metrics[name])
            for name in first.metrics
        },
        first_episode_frames=first.first_episode_frames,
    )
