"""What a game's scores are measured by: where the random policy's and the teacher's come from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from rrl_agents.checkpoints.teacher_card import EvaluationScore, TeacherCard
from rrl_agents.environments.registry import random_source
from rrl_agents.scores import mean_and_interval
from services.bench.results import ReferenceRow
from services.launcher.experiment import Experiment
from services.learner.evaluation_records import EvaluationRecord


def reference_row(
    game: str, experiment: Experiment, played: Sequence[EvaluationRecord]
) -> ReferenceRow | None:
    """The references of one game.

    The teacher's score is the suite's, or else that of the teacher's card, or else of its play
    beside the students.

    Args:
        game: What the suite calls it.
        experiment: Of any of the game's runs.
        played: Evaluations of the teacher in these runs, for a teacher whose card has no score.

    Returns:
        The row; None while the teacher has no score.
    """
    config, card = experiment.config, experiment.card
    compute = card.compute if card is not None else None
    row = functools.partial(
        ReferenceRow,
        game=game,
        random_return=experiment.random_return,
        random_source=random_source(config.environment),
        teacher=card.name if card is not None else "none",
        teacher_frames=compute.environment_frames if compute is not None else None,
        teacher_updates=compute.gradient_updates if compute is not None else None,
    )
    if config.teacher.mean_return is not None:
        return row(
            teacher_return=config.teacher.mean_return,
            teacher_source="given in the suite's settings",
        )
    if card is not None and card.score is not None:
        return _with_score(row, card, card.score)
    if not played:
        return None
    returns = [one for record in played for one in record.episode_returns]
    mean, low, high = mean_and_interval(returns)
    return row(
        teacher_return=mean,
        teacher_low=low,
        teacher_high=high,
        teacher_episodes=len(returns),
        teacher_epsilon=played[0].epsilon,
        teacher_sticky_actions=config.environment.sticky_actions,
        teacher_max_episode_steps=experiment.spec.max_episode_steps,
        teacher_source=f"played by the evaluators of {len(played)} of the students' runs",
    )


def _with_score(
    row: Callable[..., ReferenceRow], card: TeacherCard, score: EvaluationScore
) -> ReferenceRow:
    low, high = score.interval or (None, None)
    if score.interval is None and score.returns:
        _, low, high = mean_and_interval(score.returns)
    protocol = card.protocol
    return row(
        teacher_return=score.mean_return,
        teacher_low=low,
        teacher_high=high,
        teacher_episodes=score.episodes,
        teacher_epsilon=score.epsilon,
        teacher_sticky_actions=score.sticky_actions,
        teacher_max_episode_steps=protocol.max_episode_steps if protocol is not None else None,
        teacher_source=f"the teacher's card{score.note and ': '}{score.note}",
    )
