"""Evaluates agents on whole episodes, under a protocol that is stated with the result."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from rrl_agents.environments.registry import (
    EnvironmentConfig,
    known_random_return,
    make_environment,
    random_source,
)
from rrl_agents.scores import mean_and_interval
from services.evaluator.config import EvaluationProtocol
from services.evaluator.protocol_player import ProtocolPlayer
from services.launcher.agents import Agent
from services.shared.errors import user_errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlayedUnder:
    """The protocol of an evaluation; results of different protocols are not comparable.

    Attributes:
        environment: Name of the environment.
        game: What is played, in one word.
        episodes: Whole episodes; episode i has the seed `first_seed` + i.
        first_seed: Seed of the first episode.
        epsilon: Probability of a uniformly random action.
        acts: "greedily" by Q-values, or by sampling from a policy, at its temperature.
        sticky_actions: Probability that the environment repeats the last action.
        max_episode_steps: Decisions after which an episode is cut off.
        frames_per_step: Emulator frames that one decision lasts.
    """

    environment: str
    game: str
    episodes: int
    first_seed: int
    epsilon: float
    acts: str
    sticky_actions: float
    max_episode_steps: int
    frames_per_step: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        agent: Name of the agent.
        parameters_sha256: Digest of its parameters, as in its card.
        protocol: The protocol.
        mean_return: Undiscounted sum of raw rewards, mean over the episodes.
        interval: 95% bootstrap interval of the mean, lower and upper end.
        random_return: Mean return of the uniformly random policy; None if unknown.
        random_source: Origin of the random return, in words.
        returns: Return of each episode, in seed order.
        steps: Decisions in each episode.
        metrics: Further metrics of the environment: name -> mean over the episodes.
    """

    agent: str
    parameters_sha256: str
    protocol: PlayedUnder
    mean_return: float
    interval: tuple[float, float]
    random_return: float | None
    random_source: str
    returns: tuple[float, ...]
    steps: tuple[int, ...]
    metrics: Mapping[str, float]


def evaluate_agent(
    agent: Agent,
    environment: EnvironmentConfig,
    *,
    episodes: int,
    epsilon: float,
    num_envs: int,
    first_seed: int,
    on_episode: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate an agent.

    Args:
        agent: Agent to evaluate.
        environment: The environment to play.
        episodes: Number of whole episodes, at least 1.
        epsilon: Probability of a uniformly random action.
        num_envs: Environments stepped in parallel.
        first_seed: Seed of the first episode.
        on_episode: Called when an episode ends.

    Raises:
        UserError: the agent cannot play this environment, or a number is out of range.
    """
    with user_errors():
        protocol = EvaluationProtocol(
            episodes=episodes, epsilon=epsilon, num_envs=num_envs, first_seed=first_seed
        )
        with contextlib.closing(make_environment(environment, 1)) as one:
            spec = one.spec
    agent.check_plays(spec)
    player = ProtocolPlayer(environment, protocol, on_episode=on_episode)
    played = player.play_policy(agent.scores, agent.card.spec, episodes=episodes)
    assert played is not None, "nothing stops it"
    mean, low, high = mean_and_interval(played.returns)
    is_greedy = agent.card.output == "q_values"
    known = known_random_return(environment)
    return Evaluation(
        agent=agent.card.name,
        parameters_sha256=agent.card.parameters_sha256,
        protocol=PlayedUnder(
            environment=environment.name,
            game=spec.name,
            episodes=episodes,
            first_seed=first_seed,
            epsilon=epsilon,
            acts="greedily" if is_greedy else f"at temperature {agent.card.spec.temperature or 1}",
            sticky_actions=environment.sticky_actions,
            max_episode_steps=spec.max_episode_steps,
            frames_per_step=spec.frames_per_step,
        ),
        mean_return=mean,
        interval=(low, high),
        random_return=known,
        random_source="" if known is None else random_source(environment),
        returns=played.returns,
        steps=played.steps,
        metrics={name: float(np.mean(values)) for name, values in played.metrics.items()},
    )
