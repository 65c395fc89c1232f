"""One run of a suite, from its config to its end; a teacher's to its export."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.scores import check_scale
from services.bench.folder import drop_replay
from services.bench.plan import PlannedRun
from services.bench.run_messages import RunProgress, RunResult
from services.launcher.one_process import run_in_one_process
from services.launcher.resolution import resolve
from services.launcher.run_directory import is_finished
from services.launcher.trained_student import read_student
from services.launcher.watching import Answer
from services.learner.codec import progress_from_proto
from services.library.export.directory import export_teacher
from services.shared.errors import UserError
from services.shared.logging import setup_logging

_REPORT_SECONDS = 1.0


def execute(
    run: PlannedRun, stop: threading.Event, report: Callable[[RunProgress], None]
) -> RunResult:
    """Start or resume a run until it is finished, has failed, or `stop` is set.

    Args:
        run: What is to be done.
        stop: Ends it early; it saves a checkpoint first.
        report: Gets its progress about once a second.
    """
    setup_logging(run.name)
    log = logging.getLogger(__name__)
    log.info("starts in %s", run.folder)
    try:
        finished = is_finished(run.folder) or _train(run, stop, report)
        if finished:
            _finish(run)
    except UserError as error:
        log.error("%s", error)
        return RunResult(finished=False, error=str(error))
    # One run's failure must not end the others: it is named at the end.
    except Exception as error:
        log.exception("failed")
        return RunResult(finished=False, error=f"{type(error).__name__}: {error}")
    log.info("finished" if finished else "stopped")
    return RunResult(finished=finished)


def _finish(run: PlannedRun) -> None:
    """Export a finished teacher, and drop the replay; nothing where it has been done.

    Raises:
        UserError: its student cannot be exported, or is no teacher.
    """
    if run.export is not None and not run.is_finished:
        # A teacher's name has no slash in it.
        teacher = read_student(run.folder, run.name.replace("/", "-")).teacher
        _check_is_better_than_chance(teacher.card)
        # An export is whole or not there: what a kill left behind has another name.
        export_teacher(run.export, teacher)
    if not run.keep_replay:
        drop_replay(run.folder)


def _check_is_better_than_chance(card: TeacherCard) -> None:
    score, chance = card.score, card.random_return
    advice = "Train it longer, or with other settings, in another --out"
    if score is None or chance is None:
        raise UserError(f"this teacher or its game's random policy was not scored. {advice}")
    try:
        check_scale(chance, score.mean_return)
    except ValueError as error:
        raise UserError(f"{error}. {advice}") from error


def _train(run: PlannedRun, stop: threading.Event, report: Callable[[RunProgress], None]) -> bool:
    reported_at = 0.0

    def observe(answer: Answer) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at < _REPORT_SECONDS:
            return
        reported_at = time.monotonic()
        progress = progress_from_proto(answer.progress)
        report(RunProgress(progress=progress, updates_per_second=answer.updates_per_second))

    return run_in_one_process(resolve(run.config), run.folder, stop, observe)
