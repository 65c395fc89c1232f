"""The Atari environment against Dopamine's own preprocessing, and the edges of its protocol."""

from __future__ import annotations

from typing import Any

import ale_py
import numpy as np
import pytest
from ale_py import roms
from numpy.typing import NDArray

from rrl_agents.environments.game_names import rom_names
from rrl_agents.environments.registry import EnvironmentConfig, make_environment


class RawGame:
    """One game in the old Gym interface that Dopamine's preprocessing wraps.

    Plays single raw frames, as Gym's "NoFrameskip" games did; today's ale-py registers none of them
    with the Gym that Dopamine asks for.
    """

    def __init__(self, game: str, *, sticky_action_probability: float, seed: int) -> None:
        self.ale = ale_py.ALEInterface()
        self.ale.setInt("random_seed", seed)
        self.ale.setFloat("repeat_action_probability", sticky_action_probability)
        self.ale.loadROM(str(roms.get_rom_path(game)))
        self.observation_space = np.empty(self.ale.getScreenDims())
        self.actions = self.ale.getMinimalActionSet()

    def reset(self) -> None:
        self.ale.reset_game()

    def step(self, action: int) -> tuple[None, float, bool, dict[str, Any]]:
        reward = self.ale.act(self.actions[action])
        return None, reward, self.ale.game_over(), {}


@pytest.mark.parametrize("sticky_action_probability", [0.0, 0.25])
@pytest.mark.parametrize(("game", "steps"), [("pong", 1200), ("breakout", 900), ("seaquest", 700)])
def test_frames_rewards_and_ends_equal_dopamines(
    game: str, steps: int, sticky_action_probability: float
) -> None:
    """Both emulators take the same actions: sticky ones come from the same seed.

    Dopamine's frame of a terminal step is left out: when a game ends within a step, Dopamine's
    buffer holds a stale screen ("may not contain valid image data and should be ignored", says its
    docstring).
    """
    from dopamine.discrete_domains import atari_lib

    raw = RawGame(game, sticky_action_probability=sticky_action_probability, seed=7)
    theirs = atari_lib.AtariPreprocessing(raw)
    config = EnvironmentConfig(game=game, sticky_action_probability=sticky_action_probability)
    ours = make_environment(config, 1)
    assert len(raw.actions) == ours.spec.num_actions
    actions = np.random.default_rng(0).integers(0, ours.spec.num_actions, size=steps)
    ends = 0
    observation = ours.reset(7)
    _assert_same_frame(observation, theirs.reset())
    for action in actions:
        step = ours.step(np.array([action]))
        if step.episode_start[0]:
            _assert_same_frame(step.observation, theirs.reset())
            assert not step.observation[0, ..., :-1].any()
            assert step.reward[0] == 0.0
            observation = step.observation
            continue
        frame, reward, is_terminal, _ = theirs.step(action)
        assert step.reward[0] == reward
        assert step.terminated[0] == is_terminal
        ends += int(is_terminal)
        if not is_terminal:
            _assert_same_frame(step.observation, frame)
            np.testing.assert_array_equal(step.observation[0, ..., :-1], observation[0, ..., 1:])
        observation = step.observation
    assert ends > 0
    ours.close()


def _assert_same_frame(observation: NDArray[np.uint8], frame: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(observation[0, ..., -1], frame[..., 0])


def test_an_episode_starts_zero_padded_with_its_oldest_frames_first() -> None:
    environment = make_environment(EnvironmentConfig(), 2)
    first = environment.reset(0)
    assert first.shape == (2, 84, 84, 4) and first.dtype == np.uint8
    assert not first[..., :3].any() and first[..., 3].any()
    second = environment.step(np.zeros(2, np.int64)).observation
    np.testing.assert_array_equal(second[..., 2], first[..., 3])
    assert not second[..., :2].any()
    environment.close()


def test_all_games_of_the_emulator_are_known_but_those_for_two_players() -> None:
    for_two = {"combat", "joust", "maze_craze", "warlords"}
    assert set(rom_names()) == set(roms.get_all_rom_ids()) - for_two
    assert len(rom_names()) == 104


@pytest.mark.slow
def test_every_game_plays() -> None:
    for game in rom_names():
        environment = make_environment(EnvironmentConfig(game=game), 1)
        observation = environment.reset(0)
        assert observation.shape == (1, 84, 84, 4)
        for step_number in range(20):
            action = np.array([step_number % environment.spec.num_actions])
            step = environment.step(action)
        assert step.observation.shape == (1, 84, 84, 4)
        environment.close()
