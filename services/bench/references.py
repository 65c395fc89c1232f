"""What a game's scores are measured by: where the random policy's and the teacher's come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.environments.atari import MAX_EPISODE_STEPS
from rrl_agents.environments.kinds import ATARI_STICKY_ACTION_PROBABILITY
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.scores import mean_and_interval
from rrl_agents.types import EnvironmentSpec
from services.bench.results import ReferenceRow
from services.launcher.experiment import Experiment
from services.learner.evaluation_records import EvaluationRecord

_RANDOM_SOURCES = {
    "atari": "table of the code released with Agarwal et al., 2022 (arXiv:2206.01626)",
    "minatar": "measured under this protocol (rrl_agents/environments/score_tables.py)",
    "cartpole": "measured under this protocol (rrl_agents/environments/score_tables.py)",
    "catch": "exact, by arithmetic",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherScore:
    """A teacher's score and how it was come by; None for what is not known.

    Attributes:
        mean_return: Mean over the episodes.
        interval: 95% interval of that mean.
        episodes: Number of episodes.
        epsilon: Exploration rate while they were played.
        sticky_actions: Probability that the environment repeated the last action.
        max_episode_steps: Decisions after which an episode was cut off.
        source: Where it comes from, in words.
    """

    mean_return: float
    interval: tuple[float, float] | None = None
    episodes: int | None = None
    epsilon: float | None = None
    sticky_actions: float | None = None
    max_episode_steps: int | None = None
    source: str


def reference_row(
    game: str, experiment: Experiment, played: Sequence[EvaluationRecord]
) -> ReferenceRow | None:
    """The references of one game.

    Args:
        game: What the suite calls it.
        experiment: Of any of the game's runs.
        played: Evaluations of the teacher in these runs, for a teacher whose card has no score.

    Returns:
        The row; None while nobody has scored the teacher.
    """
    score = _teacher_score(experiment, played)
    if score is None:
        return None
    low, high = (None, None) if score.interval is None else score.interval
    card = experiment.card
    compute = card.compute if card is not None else None
    return ReferenceRow(
        game=game,
        random_return=experiment.random_return,
        random_source=random_source(experiment.config.environment),
        teacher=card.name if card is not None else "nobody",
        teacher_return=score.mean_return,
        teacher_low=low,
        teacher_high=high,
        teacher_episodes=score.episodes,
        teacher_epsilon=score.epsilon,
        teacher_sticky_actions=score.sticky_actions,
        teacher_max_episode_steps=score.max_episode_steps,
        teacher_source=score.source,
        teacher_frames=compute.environment_frames if compute is not None else None,
        teacher_updates=compute.gradient_updates if compute is not None else None,
    )


def random_source(environment: EnvironmentConfig) -> str:
    """Where the random policy's mean return comes from, in words."""
    if environment.random_return is not None:
        return "given in the suite's settings"
    source = _RANDOM_SOURCES[environment.name]
    # Of the others the environment itself refuses what was measured under another protocol.
    if environment.name == "atari" and not _is_the_tables(environment):
        return (
            f"{source}; of another protocol than these scores: sticky actions "
            f"{ATARI_STICKY_ACTION_PROBABILITY}, episodes of up to {MAX_EPISODE_STEPS:,} steps"
        )
    return source


def _is_the_tables(environment: EnvironmentConfig) -> bool:
    """Whether Atari is played as it was for the papers' table."""
    steps = environment.max_episode_steps
    return environment.sticky_actions == ATARI_STICKY_ACTION_PROBABILITY and (
        steps is None or steps == MAX_EPISODE_STEPS
    )


def card_score(card: TeacherCard) -> TeacherScore | None:
    """The score on a teacher's card; None where there is none."""
    score = card.score
    if score is None:
        return None
    interval = score.interval
    if interval is None and score.returns:
        _, low, high = mean_and_interval(score.returns)
        interval = low, high
    note = f": {score.note}" if score.note else ""
    return TeacherScore(
        mean_return=score.mean_return,
        interval=interval,
        episodes=score.episodes,
        epsilon=score.epsilon,
        sticky_actions=score.sticky_actions,
        max_episode_steps=card.protocol.max_episode_steps if card.protocol is not None else None,
        source=f"the teacher's card{note}",
    )


def played_score(
    played: Sequence[EvaluationRecord], environment: EnvironmentConfig, spec: EnvironmentSpec
) -> TeacherScore | None:
    """The score of a teacher that was played beside its students; None where it was not."""
    if not played:
        return None
    mean, low, high = mean_and_interval(
        [one for record in played for one in record.episode_returns]
    )
    return TeacherScore(
        mean_return=mean,
        interval=(low, high),
        episodes=sum(len(record.episode_returns) for record in played),
        epsilon=played[0].epsilon,
        sticky_actions=environment.sticky_actions,
        max_episode_steps=spec.max_episode_steps,
        source=f"played by the evaluators of {len(played)} of the students' runs",
    )


def _teacher_score(
    experiment: Experiment, played: Sequence[EvaluationRecord]
) -> TeacherScore | None:
    config = experiment.config
    if config.teacher.mean_return is not None:
        return TeacherScore(
            mean_return=config.teacher.mean_return, source="given in the suite's settings"
        )
    known = card_score(experiment.card) if experiment.card is not None else None
    return known or played_score(played, config.environment, experiment.spec)
