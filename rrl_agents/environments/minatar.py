"""MinAtar's five games (Young and Tian, 2019, arXiv:1903.03176) under the protocol of its paper.

A frame is a 10x10 grid with one channel per kind of object, 255 where there is one and 0 elsewhere;
one frame shows the state, so none are stacked. Actions are sticky with probability 0.1, the games
that have a difficulty ramp use it, and each game offers its minimal action set. A decision lasts
one frame.

The rules are those of PyPI's `minatar`; what its `Environment` adds to them is repeated here, as
importing it brings in matplotlib and seaborn. Equal seeds and actions give equal games: one random
generator per environment drives sticky actions and rules, and the action that may be repeated is
remembered across episodes.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.game_names import minatar_name
from rrl_agents.environments.one_by_one import OneByOne
from rrl_agents.environments.score_tables import MINATAR_STICKY_ACTION_PROBABILITY
from rrl_agents.types import EnvironmentSpec

MAX_EPISODE_STEPS = 5_000
"""Decisions after which an episode is cut off.

MinAtar has no limit, and a good policy can play Breakout and Space Invaders without end: an
evaluation would never be done. Twice the length of Freeway, the one game that ends by the clock.
"""


class Rules(Protocol):
    """One game of the package, as its modules' `Env` has it.

    Attributes:
        random: Drives everything random in the game.
    """

    random: np.random.RandomState

    def act(self, a: int) -> tuple[float, bool]:
        """Play action `a` of MinAtar's six; the reward, and whether the game is over."""

    def state(self) -> NDArray[np.bool_]:
        """Bool [10, 10, C]."""

    def reset(self) -> None:
        """Start a new game."""

    def state_shape(self) -> list[int]:
        """[10, 10, C]."""

    def minimal_action_set(self) -> list[int]:
        """The actions that do something in this game, of MinAtar's six."""


def make_minatar(
    game: str,
    num_envs: int,
    *,
    max_episode_steps: int | None = None,
    sticky_action_probability: float = MINATAR_STICKY_ACTION_PROBABILITY,
) -> OneByOne:
    """N copies of one game, with frames uint8 [10, 10, C].

    Args:
        game: Name in snake_case or CamelCase.
        num_envs: Number of environments N, at least 1.
        max_episode_steps: Decisions after which an episode is cut off; None for 5,000.
        sticky_action_probability: Probability in [0, 1] that an action repeats the last one.

    Raises:
        ValueError: When the game is unknown, or MinAtar is not installed.
    """
    name = minatar_name(game)
    games = [_MinAtarGame(rules_of(name)(), sticky_action_probability) for _ in range(num_envs)]
    spec = EnvironmentSpec(
        name=f"minatar_{name}",
        frame_shape=games[0].frame_shape,
        stack_size=1,
        num_actions=games[0].num_actions,
        frames_per_step=1,
        max_episode_steps=MAX_EPISODE_STEPS if max_episode_steps is None else max_episode_steps,
    )
    return OneByOne(spec, games)


class _MinAtarGame:
    """What `minatar.Environment` makes of a game's rules, a `SingleGame`.

    Args:
        rules: Of one game, used by nobody else.
        sticky_action_probability: In [0, 1].
    """

    def __init__(self, rules: Rules, sticky_action_probability: float) -> None:
        self._rules = rules
        self._actions = rules.minimal_action_set()
        self._sticky_action_probability = sticky_action_probability
        self._last_action = 0

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return tuple(self._rules.state_shape())

    @property
    def num_actions(self) -> int:
        return len(self._actions)

    def seed(self, seed: int) -> None:
        self._rules.random = np.random.RandomState(seed)
        self._last_action = 0

    def reset(self) -> None:
        self._rules.reset()

    def act(self, action: int) -> tuple[float, bool]:
        # Drawn at probability 0, too, as MinAtar does: the game's own draws stay the same.
        if not self._rules.random.rand() < self._sticky_action_probability:
            self._last_action = self._actions[action]
        return self._rules.act(self._last_action)

    def frame(self) -> NDArray[np.uint8]:
        return self._rules.state().view(np.uint8) * np.uint8(255)


@functools.cache
def rules_of(name: str) -> Callable[[], Rules]:
    """The rules of a game, unseeded.

    The module is read from its file: importing it by name would import the whole package, and with
    it matplotlib and seaborn.

    Args:
        name: One of `game_names.MINATAR_GAMES`.

    Raises:
        ValueError: When MinAtar is not installed.
    """
    package = importlib.util.find_spec("minatar")
    if package is None or not package.submodule_search_locations:
        raise ValueError("MinAtar is not installed; run `pip install minatar`")
    path = Path(package.submodule_search_locations[0]) / "environments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"minatar_{name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ValueError(f"{path} is missing; install the package minatar again")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rules: Callable[[], Rules] = module.Env
    return rules
