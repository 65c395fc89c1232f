"""The outcome of a run in numbers: the content of `report/summary.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rrl_agents.environments.registry import task_name
from rrl_agents.scores import mean_and_interval, normalised_score
from rrl_agents.typed_json import decode, may_be_missing
from services.learner.checkpoint_records import RunRecord
from services.learner.evaluation_records import EvaluationRecord
from services.run_report.baseline import Baseline
from services.run_report.run_clocks import Clocks, at_checkpoint, at_evaluation, beyond_budgets
from services.run_report.score_protocol import ScoreProtocol, differences
from services.shared.errors import UserError
from services.shared.run_provenance import Session


@dataclasses.dataclass(frozen=True)
class _Environment:
    game: str
    name: str = may_be_missing("atari")
    frames_per_step: int = may_be_missing(4)


@dataclasses.dataclass(frozen=True)
class _Teacher:
    name: str | None = may_be_missing(None)


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    first_seed: int | None = may_be_missing(None)


@dataclasses.dataclass(frozen=True)
class _Protocols:
    student: ScoreProtocol = may_be_missing(ScoreProtocol())
    teacher: ScoreProtocol = may_be_missing(ScoreProtocol())


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunDescription:
    """The fields of a run's `config.json` that a report reads.

    Attributes:
        method: Name of the recipe, e.g. "qdagger".
        environment: The environment, and the environment frames that one agent step lasts.
        teacher: The teacher's name, if it has one.
        teacher_return: The teacher's known mean return; None if the evaluator measures it.
        random_return: Mean return of the random policy; None if the config lacks it.
        budgets: Name -> budget of the run.
        evaluation: Whether evaluations have fixed seeds.
        score_protocols: How the student is evaluated, and how the teacher's known return was
            measured.
        seed: Seed of the run; None if the config lacks it.
        game: Name of the game, e.g. "pong".
    """

    method: str
    environment: _Environment
    teacher: _Teacher = may_be_missing(_Teacher())
    teacher_return: float | None = may_be_missing(None)
    random_return: float | None = may_be_missing(None)
    budgets: Mapping[str, int] = may_be_missing({})
    evaluation: _Evaluation = may_be_missing(_Evaluation())
    score_protocols: _Protocols = may_be_missing(_Protocols())
    seed: int | None = may_be_missing(None)
    game: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Set the game's name; raises ValueError if there is no such environment or game."""
        object.__setattr__(self, "game", task_name(self.environment.name, self.environment.game))

    @property
    def frames_per_step(self) -> int:
        """Environment frames that one agent step lasts."""
        return self.environment.frames_per_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineOutcome:
    """The outcome of the baseline run; fields as in `Summary`."""

    method: str
    command: str
    student_return: float
    student_return_interval: tuple[float, float]
    student_episodes: int
    teacher_normalised_score: float
    frames: int
    offline_updates: int
    online_updates: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Making:
    """How a run was made; if its sessions differ, each field has all values, oldest first.

    Attributes:
        seed: Seed of the run; None if unknown.
        commands: Command lines.
        code: Versions of this package, of Python and of the libraries.
        hardware: Descriptions of the machines.
    """

    seed: int | None = None
    commands: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricOutcome:
    """Student and teacher by one metric: one of the environment's, or the return.

    Attributes:
        student_mean: Mean over the student's episodes.
        student_interval: 95% bootstrap interval of that mean.
        teacher_mean: Mean over the teacher's episodes; None if this run did not play the teacher.
        difference: Mean of student minus teacher over episodes with the same seeds; None if the
            seeds were not fixed.
        difference_interval: 95% bootstrap interval of that mean, over pairs of episodes.
        pairs: Number of episodes that both played.
    """

    student_mean: float
    student_interval: tuple[float, float]
    teacher_mean: float | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    pairs: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """The outcome of a run.

    Attributes:
        method: Name of the recipe.
        game: Name of the game.
        teacher: Name of the teacher; empty if it has none.
        finished: Whether the run is finished; if not, the student's newest evaluation counts.
        student_return: Mean undiscounted, unclipped return of the student.
        student_return_std: Standard deviation over the episodes (population).
        student_return_interval: 95% bootstrap interval of the mean.
        student_episodes: Number of these episodes.
        teacher_return: Mean return of the teacher.
        random_return: Mean return of the random policy.
        teacher_normalised_score: (student - random) / (teacher - random).
        epsilon: Exploration rate of the evaluation.
        last_evaluation: Clocks when the evaluated weights were published.
        newest_checkpoint: Clocks of the newest checkpoint, which includes all work of the run; None
            if there is no checkpoint.
        beyond_budgets: Sentences about budgets that the run exceeded.
        mixed_protocols: Sentences about differences between the teacher's protocol and the
            student's; if there are any, the teacher-normalised score is not meaningful.
        baseline: The baseline run; None without one.
        metrics: Name of a metric of the environment -> outcome; includes "return" if student and
            teacher played the same episodes.
        made: How the run was made.
    """

    method: str
    game: str
    teacher: str
    finished: bool
    student_return: float
    student_return_std: float
    student_return_interval: tuple[float, float]
    student_episodes: int
    teacher_return: float
    random_return: float
    teacher_normalised_score: float
    epsilon: float
    last_evaluation: Clocks
    newest_checkpoint: Clocks | None = None
    beyond_budgets: tuple[str, ...] = ()
    mixed_protocols: tuple[str, ...] = ()
    baseline: BaselineOutcome | None = None
    metrics: Mapping[str, MetricOutcome] = dataclasses.field(default_factory=dict)
    made: Making = Making()

    @property
    def done(self) -> Clocks:
        """The latest clocks of the run that its folder has."""
        return self.newest_checkpoint or self.last_evaluation


def describe_run(config: Mapping[str, Any]) -> RunDescription:
    """Read what a report needs from the content of `config.json`.

    Raises:
        UserError: The method or the game is missing, or a field has another type.
    """
    try:
        return decode(RunDescription, config, "config.json", ignore_unknown=True)
    except ValueError as error:
        raise UserError(f"{error}; give the folder of a run") from error


def making(description: RunDescription, sessions: Sequence[Session]) -> Making:
    """Collect how a run was made.

    Args:
        description: Description of the run.
        sessions: Sessions of the run, oldest first.
    """
    return Making(
        seed=description.seed,
        commands=tuple(dict.fromkeys(session.command for session in sessions)),
        code=tuple(dict.fromkeys(session.code for session in sessions)),
        hardware=tuple(dict.fromkeys(session.hardware for session in sessions)),
    )


def summarise(
    description: RunDescription,
    students: Sequence[EvaluationRecord],
    references: tuple[float, float],
    teacher_protocol: ScoreProtocol,
    baseline: Baseline | None = None,
    checkpoint: RunRecord | None = None,
    teacher: EvaluationRecord | None = None,
) -> Summary:
    """Summarise the outcome of a run.

    Args:
        description: Description of the run.
        students: The student's evaluations in the order of the run, at least one; the last counts.
        references: Mean return of the teacher and of the random policy.
        teacher_protocol: How the teacher's return was measured.
        baseline: The baseline run; None without one.
        checkpoint: Record of the newest checkpoint; None if there is none.
        teacher: The teacher's newest evaluation; None if this run did not play the teacher.

    Returns:
        The summary.

    Raises:
        ValueError: The teacher returns no more than the random policy.
    """
    last, (teacher_return, random_return) = students[-1], references
    frames_per_step = description.frames_per_step
    evaluated = at_evaluation(last, frames_per_step)
    saved = None if checkpoint is None else at_checkpoint(checkpoint, frames_per_step)
    mean, low, high = mean_and_interval(last.episode_returns)
    return Summary(
        method=description.method,
        game=description.game,
        teacher=description.teacher.name or "",
        finished=last.final,
        student_return=mean,
        student_return_std=float(np.std(last.episode_returns)),
        student_return_interval=(low, high),
        student_episodes=len(last.episode_returns),
        teacher_return=teacher_return,
        random_return=random_return,
        teacher_normalised_score=normalised_score(mean, random_return, teacher_return),
        epsilon=last.epsilon,
        last_evaluation=evaluated,
        newest_checkpoint=saved,
        beyond_budgets=beyond_budgets(saved or evaluated, description.budgets),
        mixed_protocols=tuple(
            differences(description.game, teacher_protocol, [description.score_protocols.student])
        ),
        baseline=None if baseline is None else _outcome(baseline, teacher_return, random_return),
        metrics=_metrics(last, teacher, is_paired=description.evaluation.first_seed is not None),
    )


def _metrics(
    student: EvaluationRecord, teacher: EvaluationRecord | None, *, is_paired: bool
) -> dict[str, MetricOutcome]:
    """What both are judged by; returns too where their episodes are the same."""
    of_student = dict(student.episode_metrics)
    of_teacher = {} if teacher is None else dict(teacher.episode_metrics)
    if is_paired and teacher is not None:
        of_student["return"] = student.episode_returns
        of_teacher["return"] = teacher.episode_returns
    return {
        name: _metric(values, of_teacher.get(name, ()), is_paired=is_paired)
        for name, values in of_student.items()
    }


def _metric(
    student: Sequence[float], teacher: Sequence[float], *, is_paired: bool
) -> MetricOutcome:
    mean, low, high = mean_and_interval(student)
    outcome = MetricOutcome(
        student_mean=mean,
        student_interval=(low, high),
        teacher_mean=float(np.mean(teacher)) if teacher else None,
    )
    pairs = [one - other for one, other in zip(student, teacher, strict=False)]
    if not (is_paired and pairs):
        return outcome
    # Episodes of one index have one seed: from the first on, in order, for both.
    difference, low, high = mean_and_interval(pairs)
    return dataclasses.replace(
        outcome, difference=difference, difference_interval=(low, high), pairs=len(pairs)
    )


def _outcome(baseline: Baseline, teacher_return: float, random_return: float) -> BaselineOutcome:
    last = baseline.points[-1]
    return BaselineOutcome(
        method=baseline.method,
        command=baseline.command,
        student_return=last.mean_return,
        student_return_interval=(last.low, last.high),
        student_episodes=last.episodes,
        teacher_normalised_score=normalised_score(last.mean_return, random_return, teacher_return),
        frames=last.frames,
        offline_updates=last.offline_updates,
        online_updates=last.online_updates,
    )
