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

import importlib.util
import runpy
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.registry import EnvironmentConfig, task_name
from rrl_agents.environments.vector_environment import VectorEnvironment, one_by_one


def make_minatar(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    """N copies of one game, with frames uint8 [10, 10, C].

    Raises:
        ValueError: When MinAtar is not installed.
    """
    name = task_name(config.name, config.game)
    rules = rules_of(name.removeprefix("minatar_"))
    return one_by_one(
        lambda: _MinAtarGame(rules(), config.sticky_actions),
        num_envs,
        name=name,
        max_episode_steps=config.episode_steps,
    )


class _MinAtarGame(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """The equivalent of `minatar.Environment`.

    Args:
        rules: A game's rules, not shared: an `Env` of the package's modules.
        sticky_action_probability: In [0, 1].
    """

    def __init__(self, rules: Any, sticky_action_probability: float) -> None:
        self._rules = rules
        self._actions = rules.minimal_action_set()
        self._sticky_action_probability = sticky_action_probability
        self._last_action = 0
        self.observation_space = gymnasium.spaces.Box(0, 255, rules.state_shape(), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(self._actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        if seed is not None:
            self._rules.random = np.random.RandomState(seed)
            self._last_action = 0
        self._rules.reset()
        return self._frame(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        # Drawn at probability 0, too, as MinAtar does: the game's own draws stay the same.
        if not self._rules.random.rand() < self._sticky_action_probability:
            self._last_action = self._actions[action]
        reward, is_over = self._rules.act(self._last_action)
        return self._frame(), float(reward), bool(is_over), False, {}

    def _frame(self) -> NDArray[np.uint8]:
        frame: NDArray[np.uint8] = self._rules.state().view(np.uint8) * np.uint8(255)
        return frame


def rules_of(name: str) -> Any:
    """The class `Env` with the rules of a game.

    The module is run from its file: importing it by name would import the whole package, and with
    it matplotlib and seaborn.

    Args:
        name: One of `game_names.MINATAR_GAMES`.

    Raises:
        ValueError: When MinAtar is not installed.
    """
    package = importlib.util.find_spec("minatar")
    if package is None or package.origin is None:
        raise ValueError("MinAtar is not installed; run `pip install minatar`")
    return runpy.run_path(str(Path(package.origin).parent / "environments" / f"{name}.py"))["Env"]
