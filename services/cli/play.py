"""`rrl play AGENT --out FILM`: its flags, and what it prints."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tyro import MISSING

from rrl_agents.environments.registry import make_drawing_environment
from rrl_agents.ranges import check_ranges
from rrl_client.actions import teacher_actions
from services.cli.agent_flags import Played, opened, parsed_with_agent
from services.evaluator.side_by_side_film import (
    FRAMES_PER_SECOND,
    SUFFIXES,
    FilmedPlayer,
    record_film,
)
from services.launcher.agents import Agent
from services.shared.errors import UserError, user_errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Play(Played):
    """Film an agent, or two side by side on the same episodes.

    The film shows what the environment renders, or the observed frames if it does not render.

    Attributes:
        out: The film to write, NAME.mp4 or NAME.gif; an existing file is replaced.
        beside: A second agent, shown beside the first in the same environment.
        episodes: Number of episodes, played one after the other.
        max_seconds: Longest film, in seconds.
        frames_per_second: Agent steps shown per second, 1 to 120; None for the environment's own
            speed.
    """

    out: Path = dataclasses.field(default=MISSING)
    beside: str | None = None
    episodes: int = 1
    max_seconds: float = 60.0
    frames_per_second: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of range, and unsuitable files."""
        check_ranges(self, "episodes", least=1)
        check_ranges(self, "epsilon", least=0, most=1)
        check_ranges(self, "first_seed", least=0, most=2**30)
        check_ranges(self, "max_seconds", above=0, most=3600)
        check_ranges(self, "frames_per_second", least=1, most=120)


def play_main(arguments: list[str]) -> None:
    """Run `rrl play`.

    Raises:
        UserError: bad input, or an agent cannot be played or shown.
    """
    with contextlib.ExitStack() as ending:
        agent, own = ending.enter_context(
            parsed_with_agent(Play, arguments, "rrl play", epsilon="epsilon")
        )
        _check_out(own.out)
        agents = [agent]
        if own.beside is not None:
            agents.append(ending.enter_context(opened(own.beside, own.peers)))
        players = [
            ending.enter_context(_filmed(one, own, index)) for index, one in enumerate(agents)
        ]
        speed = own.frames_per_second or players[0].frames_per_second or FRAMES_PER_SECOND
        with user_errors((OSError,), prefix=f"--out: cannot write {own.out}: "):
            returns = record_film(
                players,
                own.out,
                seeds=range(own.first_seed, own.first_seed + own.episodes),
                frames_per_second=speed,
                max_seconds=own.max_seconds,
            )
    for seed, scores in enumerate(returns, own.first_seed):
        played = (f"{one.card.name} {score:g}" for one, score in zip(agents, scores, strict=True))
        print(f"seed {seed}: {', '.join(played)}")
    if len(returns) < own.episodes:
        print(f"cut off after {own.max_seconds:g} s of film; --max-seconds shows more")
    print(f"film: {own.out}")


def _check_out(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise UserError(f"--out is {path}; give a name that ends in {' or '.join(SUFFIXES)}")
    if not path.resolve().parent.is_dir():
        raise UserError(f"--out: there is no directory {path.resolve().parent}; make it first")


@contextlib.contextmanager
def _filmed(agent: Agent, own: Play, index: int) -> Iterator[FilmedPlayer]:
    """An agent in its own environment, acting as in evaluations."""
    with user_errors():
        environment = make_drawing_environment(own.environment)
    with contextlib.closing(environment):
        agent.check_plays(environment.spec)
        random = np.random.default_rng([own.first_seed, index])
        spec = agent.card.spec

        def actions(states: NDArray[Any]) -> NDArray[np.int64]:
            if random.random() < own.epsilon:
                return random.integers(0, spec.num_actions, 1)
            return teacher_actions(
                agent.scores(states),
                output=spec.output,
                temperature=spec.temperature,
                random=random,
            )

        yield FilmedPlayer(agent.card.name, environment, actions)
