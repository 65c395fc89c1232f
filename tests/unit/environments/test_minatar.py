"""MinAtar's games against the package's own `Environment`, and what our protocol adds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from rrl_agents.environments.game_names import MINATAR_GAMES, minatar_name
from rrl_agents.environments.minatar import make_minatar
from tests.support.patience import PATIENCE_SECONDS


@pytest.mark.parametrize("sticky_action_probability", [0.0, 0.1])
@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_frames_rewards_and_ends_equal_minatars(
    game: str, sticky_action_probability: float
) -> None:
    """Two games of ours are those of `minatar.Environment` with seeds 7 and 8, over many episodes.

    Its `reset` is called where ours starts anew by itself: on the call after an end.
    """
    import minatar

    theirs: list[Any] = [
        minatar.Environment(game, sticky_action_prob=sticky_action_probability) for _ in range(2)
    ]
    for i, environment in enumerate(theirs):
        environment.seed(7 + i)
        environment.reset()
    ours = make_minatar(game, 2, sticky_action_probability=sticky_action_probability)
    observation = ours.reset(7)
    action_set = theirs[0].minimal_action_set()
    assert ours.spec.num_actions == len(action_set)
    random, episodes = np.random.default_rng(0), 0
    # Freeway ends after 2,501 decisions.
    for _ in range(2_600 if game == "freeway" else 500):
        for i, environment in enumerate(theirs):
            np.testing.assert_array_equal(observation[i, ..., 0], environment.state() * 255)
        action = random.integers(0, len(action_set), size=2)
        step = ours.step(action)
        for i, environment in enumerate(theirs):
            if step.episode_start[i]:
                environment.reset()
                assert (step.reward[i], step.terminated[i]) == (0.0, False)
            else:
                expected = environment.act(action_set[action[i]])
                assert (step.reward[i], step.terminated[i]) == expected
        episodes += int(step.terminated.sum())
        observation = step.observation
    assert episodes >= 2


def test_frames_are_channels_of_full_or_no_brightness() -> None:
    environment = make_minatar("breakout", 3)
    observation = environment.reset(0)
    assert observation.shape == (3, 10, 10, 4, 1) and observation.dtype == np.uint8
    # Paddle, ball, its trail (on the ball at first) and three rows of bricks: 1 + 1 + 1 + 30 cells.
    assert (observation == 255).sum(axis=(1, 2, 3, 4)).tolist() == [33] * 3
    assert set(np.unique(observation)) == {0, 255}


def test_its_matplotlib_is_not_imported() -> None:
    code = (
        "import sys; from rrl_agents.environments.minatar import make_minatar; "
        "make_minatar('asterix', 1).reset(0); "
        "sys.exit(any(name in sys.modules for name in ('minatar', 'matplotlib', 'seaborn')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS)


def test_an_episode_is_cut_off_at_the_limit_without_a_termination() -> None:
    # Freeway does not end before.
    environment = make_minatar("freeway", 2, max_episode_steps=3)
    environment.reset(0)
    steps = [environment.step(np.zeros(2, np.int64)) for _ in range(8)]
    assert [step.truncated.tolist() for step in steps] == [[i in (2, 6)] * 2 for i in range(8)]
    assert [step.episode_start.tolist() for step in steps] == [[i in (3, 7)] * 2 for i in range(8)]
    assert not any(step.terminated.any() for step in steps)


def test_a_termination_at_the_limit_is_no_cut() -> None:
    # Freeway's clock of 2,500 runs out in decision 2,501: the limit of our test.
    environment = make_minatar("freeway", 1, max_episode_steps=2_501)
    environment.reset(0)
    steps = [environment.step(np.zeros(1, np.int64)) for _ in range(2_501)]
    assert steps[-1].terminated[0] and not any(step.truncated[0] for step in steps)


@pytest.mark.parametrize("name", ["space_invaders", "SpaceInvaders", "Space-Invaders"])
def test_games_are_known_in_any_spelling(name: str) -> None:
    assert minatar_name(name) == "space_invaders"
    assert make_minatar(name, 1).spec.name == "minatar_space_invaders"


def test_an_unknown_game_is_refused_naming_the_five() -> None:
    with pytest.raises(ValueError, match="'pong'.*asterix, breakout, freeway, seaquest, space_inv"):
        make_minatar("pong", 1)
