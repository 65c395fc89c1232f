"""Collects the raw scores of a suite's runs."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from rrl_agents.environments.registry import make_environment
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.scores import mean_and_interval
from rrl_agents.types import EnvironmentSpec
from services.bench.plan import PlannedRun
from services.bench.results import (
    TEACHER,
    EpisodeRow,
    EvaluationRow,
    ReferenceRow,
    Results,
    SessionRow,
)
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.random_play import random_return
from services.launcher.resolution import resolve
from services.learner.evaluation_records import EvaluationRecord, current_records, read_records
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.run_report.score_protocol import ScoreProtocol
from services.shared.errors import UserError, user_errors
from services.shared.run_provenance import read_provenance


def collect(runs: Iterable[PlannedRun]) -> Results:
    """Read the records of all runs of a suite so far; runs that have not started give no rows.

    Args:
        runs: The suite's runs.

    Raises:
        UserError: a run's records are damaged.
    """
    evaluations: list[EvaluationRow] = []
    episodes: list[EpisodeRow] = []
    all_runs = [*runs]
    students = [run for run in all_runs if run.export is None]
    firsts = {run.game: run for run in reversed(students)}
    scaled = {run.game: run for run in reversed(students) if run.has_suites_teacher}
    specs = {game: _spec(run.config) for game, run in firsts.items()}
    by_teacher: dict[str, list[EvaluationRecord]] = {run.game: [] for run in students}
    paired = _paired_games(students)
    for run in students:
        for record in current_records(read_records(run.folder / EVALUATIONS_FILE)):
            if record.player != "teacher":
                evaluations.append(_evaluation(run, record, specs[run.game]))
                if record.final:
                    episodes.extend(_episodes(run, record))
            elif run.has_suites_teacher:
                if run.game in paired and not by_teacher[run.game]:
                    episodes.extend(_episodes(run, record))
                by_teacher[run.game].append(record)
    references = [_reference(scaled[game], played) for game, played in by_teacher.items()]
    return Results(
        evaluations=tuple(evaluations),
        references=tuple(row for row in references if row is not None),
        episodes=tuple(episodes),
        sessions=_sessions(all_runs),
    )


def nominal_frames(config: ExperimentConfig, online_updates: int, frames_per_step: int) -> int:
    """Environment frames of online play after a number of online updates.

    Updates begin once `min_replay_size` decisions are in replay, and then take `update_period`
    decisions each. Further play depends on the machine's speed and is not counted.
    """
    if online_updates == 0:
        return 0
    q_learning = config.method.q_learning
    steps = q_learning.min_replay_size + online_updates * q_learning.update_period
    return steps * frames_per_step


def reference_row(
    game: str, experiment: Experiment, played: Sequence[EvaluationRecord]
) -> ReferenceRow | None:
    """The references of one game.

    The teacher's score is the one in the suite's settings, else the one in the teacher's card, else
    that of the evaluations in the students' runs.

    Args:
        game: The game's name in the suite.
        experiment: The experiment of any of the game's runs.
        played: Evaluations of the teacher in these runs, for a teacher whose card has no score.

    Returns:
        The row; None while the teacher has no score.
    """
    config, card = experiment.config, experiment.card
    low: float | None
    high: float | None
    low, high, episodes = None, None, None
    if config.teacher.mean_return is not None:
        mean, source = config.teacher.mean_return, "given in the suite's settings"
    elif card is not None and card.score is not None:
        score = card.score
        mean, episodes = score.mean_return, score.episodes
        source = f"the teacher's card{score.note and ': '}{score.note}"
        if score.interval is not None:
            low, high = score.interval
        elif score.returns:
            _, low, high = mean_and_interval(score.returns)
    elif played:
        returns = [one for record in played for one in record.episode_returns]
        mean, low, high = mean_and_interval(returns)
        episodes = len(returns)
        source = f"played by the evaluators of {len(played)} of the students' runs"
    else:
        return None
    compute = card.compute if card is not None else None
    protocol = experiment.score_protocols.get("teacher", ScoreProtocol())
    return ReferenceRow(
        game=game,
        random_return=experiment.random_return,
        random_source=random_return(config.environment).source,
        teacher=card.name if card is not None else "none",
        teacher_return=mean,
        teacher_low=low,
        teacher_high=high,
        teacher_episodes=episodes,
        teacher_epsilon=protocol.epsilon,
        teacher_sticky_actions=protocol.sticky_actions,
        teacher_max_episode_steps=protocol.max_episode_steps,
        teacher_source=source,
        teacher_frames=compute.environment_frames if compute is not None else None,
        teacher_updates=compute.gradient_updates if compute is not None else None,
    )


def _sessions(runs: Iterable[PlannedRun]) -> tuple[SessionRow, ...]:
    """Commands, code versions and hardware of the runs, in the order of the suite."""
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for run in runs:
        found = read_provenance(run.folder)
        sessions = () if found is None else found.sessions
        counts.update(
            dict.fromkeys((one.command, one.code, one.hardware) for one in sessions).keys()
        )
    return tuple(SessionRow(*made, count) for made, count in counts.items())


def _paired_games(runs: Sequence[PlannedRun]) -> set[str]:
    """Games whose evaluations all play the same episodes, with fixed seeds and one protocol."""
    protocols: dict[str, set[tuple[object, ...]]] = {run.game: set() for run in runs}
    for run in runs:
        evaluation = run.config.evaluation
        seeds = (evaluation.first_seed, evaluation.epsilon, evaluation.num_envs)
        protocols[run.game].add((run.config.environment, *seeds))
    unseeded = {run.game for run in runs if run.config.evaluation.first_seed is None}
    return {game for game, found in protocols.items() if len(found) == 1} - unseeded


def _spec(config: ExperimentConfig) -> EnvironmentSpec:
    environment = make_environment(config.environment, 1)
    environment.close()
    return environment.spec


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
    """Rows of an evaluation's episodes; none if there are no metrics besides the return."""
    if not record.episode_metrics:
        return
    entry = TEACHER if record.player == "teacher" else run.entry
    for metric, values in {**record.episode_metrics, "return": record.episode_returns}.items():
        for episode, value in enumerate(values):
            yield EpisodeRow(entry, run.game, run.seed, metric, episode, value)


def _reference(run: PlannedRun, played: Sequence[EvaluationRecord]) -> ReferenceRow | None:
    """The references of a run's game; None until its teacher exists and its score is known."""
    if run.needs is not None and not run.needs.is_dir():
        return None
    with user_errors((UserError,), prefix=f"{run.name}: "):
        return reference_row(run.game, resolve(run.config), played)
