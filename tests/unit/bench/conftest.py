"""A suite by hand, and the rows of runs that never were."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.bench.results import EvaluationRow, ReferenceRow
from services.bench.suite import Suite, parse_suite

SUITE = """
name = "two_games"
environment = "minatar"
games = ["asterix", "breakout"]
seeds = [0, 1]

[teacher]
checkpoint = "teachers/{game}"

[settings]
"online_steps" = 2_000

[entries.qdagger]
method = "qdagger"
student = "minatar_dqn"
label = "QDagger"
[entries.qdagger.settings]
"method.offline_updates" = 500

[entries.scratch]
method = "tabula_rasa"
student = "minatar_dqn"
"""


@pytest.fixture
def suite_text() -> str:
    return SUITE


@pytest.fixture
def suite() -> Suite:
    return parse_suite(SUITE)


@pytest.fixture
def evaluation() -> Callable[..., EvaluationRow]:
    """Makes a row: `evaluation(entry, game, seed, frames, mean_return, final=..., ...)`."""

    def make(
        entry: str,
        game: str,
        seed: int,
        frames: int,
        mean_return: float,
        *,
        final: bool = False,
        offline_updates: int = 0,
        epsilon: float = 0.001,
    ) -> EvaluationRow:
        return EvaluationRow(
            entry=entry,
            method=entry,
            student="minatar_dqn",
            game=game,
            seed=seed,
            frames=frames,
            teacher_frames=0,
            offline_updates=offline_updates,
            online_updates=frames // 4,
            mean_return=mean_return,
            episodes=30 if final else 10,
            epsilon=epsilon,
            sticky_actions=0.1,
            max_episode_steps=5_000,
            final=final,
        )

    return make


@pytest.fixture
def reference() -> Callable[..., ReferenceRow]:
    """Makes a row: `reference(game, random_return, teacher_return, ...)`."""

    def make(
        game: str,
        random_return: float,
        teacher_return: float,
        *,
        epsilon: float | None = 0.001,
    ) -> ReferenceRow:
        return ReferenceRow(
            game=game,
            random_return=random_return,
            random_source="by hand",
            teacher=f"teacher of {game}",
            teacher_return=teacher_return,
            teacher_low=teacher_return - 1.0,
            teacher_high=teacher_return + 1.0,
            teacher_episodes=30,
            teacher_epsilon=epsilon,
            teacher_sticky_actions=0.1,
            teacher_max_episode_steps=5_000,
            teacher_source="by hand",
            teacher_frames=100_000,
            teacher_updates=25_000,
        )

    return make
