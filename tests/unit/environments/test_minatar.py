"""MinAtar's games against the package's own `Environment`, and what our protocol adds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from rrl_agents.environments.game_names import MINATAR_GAMES
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from tests.support.patience import PATIENCE_SECONDS


@pytest.mark.parametrize("sticky_action_probability", [0.0, 0.1])
@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_frames_rewards_and_ends_equal_minatars(
    game: str, sticky_action_probability: float
) -> None:
    """Two games of ours are those of `minatar.Environment` with seeds 7 and 8, over many episodes.

    Its `reset` is called where ours resets by itself: on the call after an end.
    """
    import minatar

    theirs: list[Any] = [
        minatar.Environment(game, sticky_action_prob=sticky_action_probability) for _ in range(2)
    ]
    for i, environment in enumerate(theirs):
        environment.seed(7 + i)
        environment.reset()
    config = EnvironmentConfig(
        name="minatar", game=game, sticky_action_probability=sticky_action_probability
    )
    ours = make_environment(config, 2)
    observation = ours.reset(7)
    action_set = theirs[0].minimal_action_set()
    assert ours.spec.num_actions == len(action_set)
    random, episodes = np.random.default_rng(0), 0
    # Freeway ends after 2,501 decisions.
    for _ in range(2_600 if game == "freeway" else 500):
        for i, environment in enumerate(theirs):
            np.testing.assert_array_equal(observation[i], environment.state() * 255)
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


def test_its_matplotlib_is_not_imported() -> None:
    code = (
        "import sys; from rrl_agents.environments import registry; "
        "config = registry.EnvironmentConfig(name='minatar', game='asterix'); "
        "registry.make_environment(config, 1).reset(0); "
        "sys.exit(any(name in sys.modules for name in ('minatar', 'matplotlib', 'seaborn')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS)
