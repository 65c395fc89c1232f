"""From the runs of a suite to its raw scores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from statistics import fmean

from rrl_agents.environments.registry import make_environment
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.types import EnvironmentSpec
from services.bench.plan import Plan, PlannedRun
from services.bench.references import reference_row
from services.bench.results import EpisodeRow, EvaluationRow, ReferenceRow, Results
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.resolution import resolve
from services.learner.evaluation_records import EvaluationRecord, current_records, read_records
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.shared.errors import UserError


def collect(plan: Plan) -> Results:
    """Read what all runs of a suite have recorded so far; those that have not started give no rows.

    Args:
        plan: The suite's runs.

    Raises:
        UserError: a run's records are damaged.
    """
    by_game = {
        game: [run for run in plan.students if run.game == game]
        for game in dict.fromkeys(run.game for run in plan.students)
    }
    specs = {game: _spec(runs[0].config) for game, runs in by_game.items()}
    played = [
        (run, record)
        for run in plan.students
        for record in _records(run)
        if record.player == "student"
    ]
    references = [_reference(runs) for runs in by_game.values()]
    return Results(
        evaluations=tuple(_evaluation(run, record, specs[run.game]) for run, record in played),
        episodes=tuple(row for run, record in played for row in _episodes(run, record)),
        references=tuple(row for row in references if row is not None),
    )


def nominal_frames(config: ExperimentConfig, online_updates: int, frames_per_step: int) -> int:
    """Environment frames of online play when a student has learned so much from it.

    Updates begin when `min_replay_size` decisions are in replay, and then take `update_period`
    decisions each. What actors play beyond that at any moment depends on the machine, and is not
    counted.
    """
    if online_updates == 0:
        return 0
    q_learning = config.method.q_learning
    steps = q_learning.min_replay_size + online_updates * q_learning.update_period
    return steps * frames_per_step


def _spec(config: ExperimentConfig) -> EnvironmentSpec:
    with contextlib.closing(make_environment(config.environment, 1)) as environment:
        return environment.spec


def _records(run: PlannedRun) -> tuple[EvaluationRecord, ...]:
    return current_records(read_records(run.folder / EVALUATIONS_FILE))


def _evaluation(run: PlannedRun, record: EvaluationRecord, spec: EnvironmentSpec) -> EvaluationRow:
    return EvaluationRow(
        entry=run.entry,
        method=make_recipe(run.config.method).name,
        student=run.student,
        game=run.game,
        seed=run.seed,
        frames=nominal_frames(run.config, record.online_updates, spec.frames_per_step),
        teacher_frames=record.teacher_steps * spec.frames_per_step,
        offline_updates=record.offline_updates,
        online_updates=record.online_updates,
        mean_return=fmean(record.episode_returns),
        episodes=len(record.episode_returns),
        epsilon=record.epsilon,
        sticky_actions=run.config.environment.sticky_actions,
        max_episode_steps=spec.max_episode_steps,
        final=record.final,
    )


def _episodes(run: PlannedRun, record: EvaluationRecord) -> Iterator[EpisodeRow]:
    played = zip(record.episode_returns, record.episode_steps, strict=True)
    for episode, (episode_return, steps) in enumerate(played):
        yield EpisodeRow(
            entry=run.entry,
            game=run.game,
            seed=run.seed,
            offline_updates=record.offline_updates,
            online_updates=record.online_updates,
            final=record.final,
            episode=episode,
            episode_return=episode_return,
            steps=steps,
        )


def _reference(runs: Sequence[PlannedRun]) -> ReferenceRow | None:
    """Of one game; None until its teacher is there and its score is known."""
    first = runs[0]
    if first.needs is not None and not first.needs.is_dir():
        return None
    try:
        experiment = resolve(first.config)
    except UserError as error:
        raise UserError(f"{first.name}: {error}") from error
    played = [record for run in runs for record in _records(run) if record.player == "teacher"]
    return reference_row(first.game, experiment, played)
