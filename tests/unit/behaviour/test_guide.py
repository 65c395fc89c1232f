"""Whose turn it is, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from rrl_agents.behaviour.guide import Guide, GuideTurns


def _turns(horizon: int, share: float, num_envs: int) -> GuideTurns:
    return GuideTurns(Guide(horizon=lambda s: horizon, share=lambda s: share), num_envs)


def test_the_guide_plays_the_first_steps_of_an_episode_and_then_no_more() -> None:
    random = np.random.default_rng(0)
    turns = _turns(horizon=5, share=0.0, num_envs=2_000)
    start, later = np.ones(2_000, bool), np.zeros(2_000, bool)
    played = np.stack([turns.next(start if t == 0 else later, 0, random) for t in range(8)])
    # Once the student has begun it plays alone.
    assert not (played[1:] & ~played[:-1]).any()
    # k is uniform on 1 .. 5: each of the 5 lengths has 2,000 / 5 = 400 +- 4 x 18 episodes.
    counts = np.bincount(played.sum(axis=0), minlength=6)
    assert len(counts) == 6 and counts[0] == 0
    assert counts[1:] == pytest.approx(np.full(5, 2_000 / 5), abs=4 * np.sqrt(2_000 * 4 / 25))


def test_a_new_episode_is_rolled_in_anew_while_others_go_on() -> None:
    random = np.random.default_rng(0)
    turns = _turns(horizon=1_000_000, share=0.0, num_envs=2)
    assert turns.next(np.array([True, False]), 0, random).tolist() == [True, False]
    assert turns.next(np.array([False, True]), 0, random).tolist() == [True, True]


def test_after_the_roll_in_the_guide_takes_its_share_of_the_steps() -> None:
    random = np.random.default_rng(0)
    turns = _turns(horizon=0, share=0.25, num_envs=10_000)
    taken = turns.next(np.ones(10_000, bool), 0, random).mean()
    # Standard deviation sqrt(0.25 x 0.75 / 10,000) = 0.0043.
    assert taken == pytest.approx(0.25, abs=4 * 0.0043)


def test_a_guide_without_horizon_and_share_never_acts() -> None:
    random = np.random.default_rng(0)
    turns = _turns(horizon=0, share=0.0, num_envs=100)
    assert not turns.next(np.ones(100, bool), 0, random).any()
    assert Guide(horizon=lambda s: 0, share=lambda s: 0.0).is_over(0)
    assert not Guide(horizon=lambda s: 1, share=lambda s: 0.0).is_over(0)
    assert not Guide(horizon=lambda s: 0, share=lambda s: 0.1).is_over(0)
