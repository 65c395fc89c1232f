"""Schedules by hand, and by their laws."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.schedules.guide_horizon import shrinking_horizon
from rrl_agents.schedules.learning_rate import following_weaning
from rrl_agents.schedules.linear_decay import linear_decay
from rrl_agents.schedules.weaning import until_matching_teacher
from rrl_agents.types import Progress, Stage

ONLINE = Progress(random_return=-20.0, teacher_return=20.0, stage=Stage.ONLINE)

progresses = st.builds(
    Progress,
    random_return=st.floats(-100, 0),
    teacher_return=st.floats(1, 100),
    stage=st.sampled_from(Stage),
    actor_steps=st.integers(0, 200),
    weaning_weight=st.floats(0, 1),
    online_return=st.none() | st.floats(-1e6, 1e6),
)


@pytest.mark.parametrize(
    ("online_return", "expected"),
    # Score (G + 20) / 40; what is missing to 1, within [0, 1].
    [(None, 1.0), (-20.0, 1.0), (-24.0, 1.0), (0.0, 0.5), (10.0, 0.25), (20.0, 0.0), (21.0, 0.0)],
)
def test_online_the_weight_is_what_the_student_lacks(
    online_return: float | None, expected: float
) -> None:
    progress = dataclasses.replace(ONLINE, online_return=online_return)
    assert until_matching_teacher(100)(progress) == pytest.approx(expected)


def test_offline_the_weight_is_one_whatever_the_score() -> None:
    progress = dataclasses.replace(ONLINE, stage=Stage.OFFLINE, online_return=15.0)
    assert until_matching_teacher(100)(progress) == 1.0


@pytest.mark.parametrize(("actor_steps", "expected"), [(99, 0.5), (100, 0.0), (101, 0.0)])
def test_weaning_ends_at_its_last_step(actor_steps: int, expected: float) -> None:
    progress = dataclasses.replace(ONLINE, actor_steps=actor_steps, online_return=0.0)
    assert until_matching_teacher(100)(progress) == expected


def test_the_weight_is_one_until_the_teachers_return_is_known() -> None:
    progress = dataclasses.replace(ONLINE, teacher_return=None, online_return=0.0)
    assert until_matching_teacher(100)(progress) == 1.0


@given(progresses, st.integers(0, 200))
def test_the_weight_stays_in_its_interval_and_zero_stays_zero(
    progress: Progress, wean_steps: int
) -> None:
    weight = until_matching_teacher(wean_steps)(progress)
    assert 0.0 <= weight <= 1.0
    if progress.weaning_weight == 0.0:
        assert weight == 0.0


@given(st.lists(st.none() | st.floats(-60, 60), min_size=1), st.integers(0, 20))
def test_over_a_whole_run_the_teacher_never_comes_back(
    returns: list[float | None], wean: int
) -> None:
    progress, weights = ONLINE, []
    for step, online_return in enumerate(returns):
        now = dataclasses.replace(progress, actor_steps=step, online_return=online_return)
        weights.append(until_matching_teacher(wean)(now))
        progress = dataclasses.replace(now, weaning_weight=weights[-1])
    if 0.0 in weights:
        assert not any(weights[weights.index(0.0) :])


@pytest.mark.parametrize(
    ("actor_steps", "expected"),
    # Warm-up 10, decay over 100 to 0.1: half way, at step 60, 0.1 + 0.9 / 2.
    [(0, 1.0), (10, 1.0), (60, 0.55), (110, 0.1), (10**9, 0.1)],
)
def test_epsilon_falls_along_a_line(actor_steps: int, expected: float) -> None:
    epsilon = linear_decay(1.0, 0.1, 100, warmup_steps=10)
    assert epsilon(actor_steps) == pytest.approx(expected)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted),
    st.integers(1, 1000),
    st.integers(0, 1000),
    st.integers(0, 3000),
)
def test_what_decays_never_rises_and_stays_between_its_ends(
    ends: list[float], decay: int, warmup: int, step: int
) -> None:
    final, initial = ends
    value = linear_decay(initial, final, decay, warmup_steps=warmup)
    assert final <= value(step + 1) <= value(step) <= initial + 1e-15
    assert step < decay + warmup or value(step) == final


@pytest.mark.parametrize(
    ("weight", "expected"),
    # 0.25 * 1e-4 + 0.75 * 1e-5 = 3.25e-5
    [(1.0, 1e-4), (0.0, 1e-5), (0.25, 3.25e-5)],
)
def test_the_learning_rate_follows_the_weaning_weight(weight: float, expected: float) -> None:
    schedule = following_weaning(taught=1e-4, weaned=1e-5)
    progress = dataclasses.replace(ONLINE, weaning_weight=weight)
    assert schedule(progress) == pytest.approx(expected)


@given(
    st.integers(0, 10_000),
    st.floats(0.0, 0.99),
    st.integers(1, 10**6),
    st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(sorted),
)
def test_the_horizon_only_shrinks_and_comes_to_an_end(
    initial: int, decay: float, iteration: int, clocks: list[int]
) -> None:
    horizon = shrinking_horizon(initial_steps=initial, decay=decay, iteration_steps=iteration)
    seen = [horizon(clock) for clock in clocks]
    assert seen == sorted(seen, reverse=True)
    assert horizon(0) == initial
    # Rounding down takes at least one step away each time.
    assert horizon(initial * iteration) == 0
