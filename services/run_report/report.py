"""Builds the report of a run: a folder that a user can open, read, and share.

    RUN/config.json, RUN/provenance.json, RUN/metrics/{evaluations.jsonl, student.gif},
    RUN/checkpoints
        -> RUN/report/{index.html, README.md, learning_curve.png, summary.json, student.gif}

A new report replaces the old one only when it is complete.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rrl_agents.environments.game_names import name_key
from services.learner.checkpoint_records import newest_checkpoint
from services.learner.evaluation_records import EvaluationRecord, current_records, read_records
from services.run_report.baseline import Baseline, encode_baseline, read_baseline
from services.run_report.html_page import PAGE_FILE, markdown_page
from services.run_report.learning_curve import LearningCurve, curve_point
from services.run_report.report_text import CURVE_FILE, VIDEO_FILE, heading, readme, title
from services.run_report.summary import (
    RunDescription,
    Summary,
    describe_run,
    making,
    summarise,
)
from services.shared.errors import UserError
from services.shared.run_config import read_config
from services.shared.run_provenance import read_provenance

RECORDS_FILE = "metrics/evaluations.jsonl"
RECORDED_VIDEO_FILE = "metrics/student.gif"
REPORT_FOLDER = "report"


def write_report(
    run: Path,
    *,
    teacher_return: float | None = None,
    random_return: float | None = None,
    student_gif: Path | None = None,
    baseline: Path | None = None,
) -> Summary:
    """Build `report/` in a run's folder, replacing an older report.

    Args:
        run: The run's folder.
        teacher_return: Mean return of the teacher. None takes it from the teacher's evaluations in
            this run, or, if there are none, from config.json.
        random_return: Mean return of the random policy; None takes it from config.json.
        student_gif: A video of the student to copy into the report. None takes the evaluator's
            video in the run's folder, or else the one in an older report.
        baseline: A baseline file (see `services.run_report.baseline`) to draw and compare with.

    Returns:
        The content of the report's summary.json.

    Raises:
        UserError: The folder is not a run, there is no evaluation of the student yet, a return is
            unknown, provenance.json is damaged, or the baseline is unreadable or of another game.
    """
    description, students, teachers = _read_run(run)
    known_teacher = _first_known(teacher_return, _pooled_mean(teachers), description.teacher_return)
    known_random = _first_known(random_return, description.random_return)
    if known_teacher is None or known_random is None:
        missing = "teacher" if known_teacher is None else "random policy"
        raise UserError(
            f"the mean return of the {missing} is unknown; give --teacher-return and "
            "--random-return, or resume the run, whose evaluator then plays the teacher"
        )
    protocols = description.score_protocols
    # The evaluator plays the teacher with the student's protocol.
    was_played = bool(teachers) and teacher_return is None
    beside = _read_baseline_of(description.game, baseline)
    checkpoint = newest_checkpoint(run)
    try:
        summary = summarise(
            description,
            students,
            (known_teacher, known_random),
            protocols.student if was_played else protocols.teacher,
            beside,
            None if checkpoint is None else checkpoint.record,
            teachers[-1] if was_played else None,
        )
    except ValueError as error:
        raise UserError(f"the score cannot be computed: {error}") from error
    provenance = read_provenance(run)
    sessions = () if provenance is None else provenance.sessions
    summary = dataclasses.replace(summary, made=making(description, sessions))
    curve = _curve(description, students, summary, beside)
    _replace_folder(run, description, summary, curve, student_gif)
    return summary


def export_baseline(run: Path, command: str) -> str:
    """Make the text of a baseline file from a finished run.

    Args:
        run: The run's folder.
        command: The command that made the run, so that a reader can repeat it.

    Returns:
        JSON for `services.run_report.baseline.read_baseline`.

    Raises:
        UserError: The folder is not a run, or its final evaluation is missing.
    """
    description, students, _ = _read_run(run)
    if not students[-1].final:
        raise UserError(f"{run} is not finished: resume it, and export the baseline at its end")
    return encode_baseline(
        Baseline(
            command=command,
            method=description.method,
            game=description.game,
            frames_per_step=description.frames_per_step,
            points=tuple(curve_point(record, description.frames_per_step) for record in students),
        )
    )


def _read_run(
    run: Path,
) -> tuple[RunDescription, tuple[EvaluationRecord, ...], tuple[EvaluationRecord, ...]]:
    """Read a run's description, and the evaluations of student and teacher."""
    description = describe_run(read_config(run))
    records = current_records(read_records(run / RECORDS_FILE))
    students = tuple(record for record in records if record.player == "student")
    if not students:
        raise UserError(f"{run} has no evaluation of its student yet; resume the run first")
    return description, students, tuple(r for r in records if r.player == "teacher")


def _first_known(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _pooled_mean(records: Sequence[EvaluationRecord]) -> float | None:
    returns = [value for record in records for value in record.episode_returns]
    return float(np.mean(returns)) if returns else None


def _find_video(run: Path) -> Path | None:
    candidates = (run / RECORDED_VIDEO_FILE, run / REPORT_FOLDER / VIDEO_FILE)
    return next((path for path in candidates if path.is_file()), None)


def _read_baseline_of(game: str, path: Path | None) -> Baseline | None:
    if path is None:
        return None
    baseline = read_baseline(path)
    if name_key(baseline.game) != name_key(game):
        raise UserError(
            f"{path} is a baseline of {baseline.game}, but the run plays {game}; give a baseline "
            "of that game"
        )
    return baseline


def _curve(
    description: RunDescription,
    students: Sequence[EvaluationRecord],
    summary: Summary,
    baseline: Baseline | None,
) -> LearningCurve:
    points = tuple(curve_point(record, description.frames_per_step) for record in students)
    return LearningCurve(
        title=title(summary),
        student_label=summary.method,
        student=points,
        baseline_label="" if baseline is None else f"{baseline.method} (baseline)",
        baseline=() if baseline is None else baseline.points,
        teacher_return=summary.teacher_return,
        random_return=summary.random_return,
    )


def _replace_folder(
    run: Path,
    description: RunDescription,
    summary: Summary,
    curve: LearningCurve,
    student_gif: Path | None,
) -> None:
    """Build the new folder, then swap it in by renaming."""
    # Imported here: matplotlib takes a second to import, and launching a run imports this module.
    from services.run_report.curve_drawing import draw_learning_curve

    report = run / REPORT_FOLDER
    with tempfile.TemporaryDirectory(prefix=".report-", dir=run) as scratch:
        new = Path(scratch, "new")
        new.mkdir()
        video = _find_video(run) if student_gif is None else student_gif
        if video is not None:
            shutil.copyfile(video, new / VIDEO_FILE)
        draw_learning_curve(curve, new / CURVE_FILE)
        text = json.dumps(dataclasses.asdict(summary), indent=1, allow_nan=False)
        (new / "summary.json").write_text(text + "\n", encoding="utf-8")
        text = readme(description, summary, curve, has_video=(new / VIDEO_FILE).exists())
        (new / "README.md").write_text(text, encoding="utf-8")
        page = markdown_page(heading(summary), text, new)
        (new / PAGE_FILE).write_text(page, encoding="utf-8")
        if report.exists():
            report.rename(Path(scratch, "old"))
        new.rename(report)
