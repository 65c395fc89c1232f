"""A suite by hand, and rows and records of runs that never were."""

from __future__ import annotations

from typing import Literal

from services.bench.results import EvaluationRow, ReferenceRow
from services.bench.suite import parse_suite
from services.learner.evaluation_records import EvaluationRecord

SUITE_TEXT = """
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
SUITE = parse_suite(SUITE_TEXT)


def changed(found: str, given: str, text: str = SUITE_TEXT) -> str:
    """The text of the suite with something else in it."""
    assert found in text
    return text.replace(found, given)


TRAINED_TEXT = changed(
    'checkpoint = "teachers/{game}"', 'method = "tabula_rasa"\nstudent = "minatar_dqn"'
)
"""The suite with teachers of its own."""


def record(
    online_updates: int,
    *returns: float,
    final: bool = False,
    player: Literal["student", "teacher"] = "student",
) -> EvaluationRecord:
    """What a run records of an evaluation in Catch."""
    return EvaluationRecord(
        player=player,
        weights_version=online_updates + 1,
        stage="final_evaluation" if final else "online",
        teacher_steps=600,
        offline_updates=300,
        online_updates=online_updates,
        # What was played by then differs from machine to machine.
        actor_steps=5 * online_updates + 217,
        weaning_weight=0.5,
        episode_returns=returns,
        episode_steps=(9,) * len(returns),
        epsilon=0.001,
        seconds_since_start=1.0,
        final=final,
    )


def evaluation(
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
    """A row of a student's evaluation."""
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


def reference(
    game: str, random_return: float, teacher_return: float, *, epsilon: float | None = 0.001
) -> ReferenceRow:
    """A row of a game's references, under the protocol of `evaluation`."""
    return ReferenceRow(
        game=game,
        random_return=random_return,
        random_source="by hand",
        teacher=f"teacher of {game}",
        teacher_return=teacher_return,
        teacher_episodes=30,
        teacher_epsilon=epsilon,
        teacher_sticky_actions=0.1,
        teacher_max_episode_steps=5_000,
        teacher_source="by hand",
    )
