"""The Atari environment against Dopamine's own preprocessing, and the edges of its protocol."""

from __future__ import annotations

from typing import Any

import ale_py
import numpy as np
import pytest
from ale_py import roms
from numpy.typing import NDArray

from rrl_agents.environments import score_tables
from rrl_agents.environments.atari import AtariEnvironment
from rrl_agents.environments.game_names import name_key, rom_name
from rrl_agents.environments.registry import games


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
    ours = AtariEnvironment(game, 1, sticky_action_probability=sticky_action_probability)
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
    environment = AtariEnvironment("pong", 2)
    first = environment.reset(0)
    assert first.shape == (2, 84, 84, 4) and first.dtype == np.uint8
    assert not first[..., :3].any() and first[..., 3].any()
    second = environment.step(np.zeros(2, np.int64)).observation
    np.testing.assert_array_equal(second[..., 2], first[..., 3])
    assert not second[..., :2].any()
    environment.close()


def test_the_step_limit_truncates_and_does_not_terminate() -> None:
    environment = AtariEnvironment("pong", 2, max_episode_steps=5)
    environment.reset(0)
    steps = [environment.step(np.zeros(2, np.int64)) for _ in range(12)]
    # 5 decisions, one call that only resets, 5 decisions, one call that only resets.
    truncated = [step.truncated.tolist() for step in steps]
    starts = [step.episode_start.tolist() for step in steps]
    at = {4: True, 10: True}
    assert truncated == [[at.get(i, False)] * 2 for i in range(12)]
    assert starts == [[at.get(i - 1, False)] * 2 for i in range(12)]
    assert not any(step.terminated.any() for step in steps)
    environment.close()


def test_the_default_limit_is_the_protocols_half_hour() -> None:
    spec = AtariEnvironment("pong", 1).spec
    # 27,000 decisions of 4 frames are 108,000 frames; at 60 per second 30 minutes.
    assert spec.max_episode_steps * spec.frames_per_step == 60 * 60 * 30


def test_a_seed_an_emulator_cannot_hold_is_refused() -> None:
    environment = AtariEnvironment("pong", 2)
    for seed in (-1, 2**31 - 2):
        with pytest.raises(ValueError, match="use a whole number from 0"):
            environment.reset(seed)
    environment.close()


@pytest.mark.parametrize(
    "name", ["ms_pacman", "MsPacman", "mspacman", "Ms-Pacman", "ms pacman", "MS_PACMAN"]
)
def test_games_are_known_in_any_spelling(name: str) -> None:
    assert rom_name(name) == "ms_pacman"


def test_an_unknown_game_is_refused_with_its_nearest_names() -> None:
    with pytest.raises(ValueError, match=r"'Pongg'.*\bpong\b"):
        rom_name("Pongg")


def test_a_game_for_two_players_is_refused() -> None:
    # In this game the emulator would end the whole process.
    with pytest.raises(ValueError, match="'MazeCraze' needs two players"):
        rom_name("MazeCraze")


def test_all_games_of_the_emulator_are_known_but_those_for_two_players() -> None:
    known = {rom_name(name) for name in games("atari")}
    assert known == set(roms.get_all_rom_ids()) - {"combat", "joust", "maze_craze", "warlords"}
    assert len(known) == 104


@pytest.mark.slow
def test_every_game_plays() -> None:
    for game in games("atari"):
        environment = AtariEnvironment(game, 1)
        observation = environment.reset(0)
        assert observation.shape == (1, 84, 84, 4)
        for step_number in range(20):
            action = np.array([step_number % environment.spec.num_actions])
            step = environment.step(action)
        assert step.observation.shape == (1, 84, 84, 4)
        environment.close()


def test_every_game_with_a_random_score_exists_once() -> None:
    table = score_tables.ATARI_RANDOM_RETURNS
    assert len({name_key(game) for game in table}) == len(table) == 57
    for game in table:
        rom_name(game)
