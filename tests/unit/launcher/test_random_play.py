"""The random policy's return: measured once where it is not known, kept, and right."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rrl_agents.environments.registry import EnvironmentConfig, known_random_return
from services.launcher import random_play
from services.launcher.random_play import random_return
from services.shared.errors import UserError

CARTPOLE = EnvironmentConfig(name="gymnasium", game="CartPole-v1")
# Long enough for all but one in thousands of random episodes, and not known.
LIMITED = dataclasses.replace(CARTPOLE, max_episode_steps=120)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path))
    return tmp_path / "random_returns"


def test_a_known_one_is_not_measured(cache: Path) -> None:
    known = random_return(CARTPOLE)
    assert known.mean == 22.263 and known.source.startswith("measured under this protocol")
    given = random_return(dataclasses.replace(LIMITED, random_return=3.0))
    assert (given.mean, given.source) == (3.0, "given in the settings")
    assert not cache.exists()


def test_an_unknown_one_is_measured_once_and_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert known_random_return(LIMITED) is None
    first = random_return(LIMITED)
    # 22.263 of 65,536 episodes; random episodes have a standard deviation of about 12.
    assert abs(first.mean - 22.263) < 4 * 12 / 200**0.5
    assert first.source.startswith("measured here: 200 episodes, seed 2022, standard error 0.")

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was measured again")

    (file,) = cache.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(random_play, "play_episodes", fail)
        assert random_return(LIMITED) == first
        # What is not played does not count.
        assert random_return(dataclasses.replace(LIMITED, clip_rewards=True)) == first
    # Another protocol is another number.
    assert random_return(dataclasses.replace(LIMITED, max_episode_steps=10)).mean < 10.01
    # A damaged file is only a cache.
    file.write_text("{")
    assert random_return(LIMITED) == first


def test_episodes_that_do_not_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_play, "MAX_STEPS", 500)
    with pytest.raises(UserError, match="more than 500 decisions: give --environment.max-episode"):
        random_return(LIMITED)


def test_a_cache_that_cannot_be_written_costs_only_time(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file where a folder would be")
    assert random_return(LIMITED).mean > 10
    assert "will be measured again" in caplog.text
