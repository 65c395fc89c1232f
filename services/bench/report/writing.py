"""Writes a suite's report: figures, tables, summary.json and one page, in a folder.

A new report replaces the old one only when it is complete. The folder has:

iqm_curve.png  final_iqm.png  performance_profiles.png  improvement.png  games.png
iqm_curve.csv  performance_profiles.csv  improvement.csv  games.csv  episode_metrics.csv
sweep_ENTRY.png, sweep_ENTRY.csv   of each entry with a sweep
summary.json   index.html
"""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from services.bench.report.episode_metrics import episode_metrics
from services.bench.report.figures import Painter
from services.bench.report.page import make_page
from services.bench.report.score_arrays import SuiteScores, arrange
from services.bench.report.score_statistics import CONFIDENCE, Tables, compute_tables, last_of
from services.bench.report.sweep_figures import sweep_table
from services.bench.results import EvaluationRow, ReferenceRow, Results
from services.bench.suite import Suite
from services.run_report.html_page import PAGE_FILE
from services.run_report.score_protocol import UNITS, ScoreProtocol, differences, unknown
from services.shared.errors import UserError, user_errors

SUMMARY = "summary.json"

_ESTIMATE = ["point", "low", "high"]
_NAMED_CHARACTERS = 300
_MORE = f" ... ({SUMMARY} names all)"
"""Ends a remark that has no room for the names of all runs."""


def write_report(
    suite: Suite,
    results: Results,
    out: Path,
    *,
    resamples: int = 2_000,
    mixed_protocols: bool = False,
) -> dict[str, Any]:
    """Aggregate a suite's results and write its report.

    Args:
        suite: The suite.
        results: Raw scores.
        out: The report's folder; replaced if it is a report.
        resamples: Number of bootstrap resamples for each interval.
        mixed_protocols: Whether to continue if scores were measured under different protocols; all
            figures then have a note about it.

    Returns:
        The content of summary.json.

    Raises:
        UserError: no run is finished, scores are not comparable, or the folder has other content or
            cannot be written.
    """
    if resamples < 1:
        raise UserError(f"--resamples is {resamples}; use 1 or more")
    different, not_noted = check_protocols(results)
    if different and not mixed_protocols:
        found = "\n".join(f"  {one}" for one in different)
        raise UserError(
            f"scores were measured under different protocols, and are not comparable:\n{found}\n"
            "measure the teacher with the students' protocol, or give --mixed-protocols to make a "
            "report with a note about it"
        )
    scores = arrange(suite, results)
    remarks = _remarks(scores, different, not_noted)
    with user_errors((OSError,), prefix=f"{out} cannot be written: "):
        _check_replaceable(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            judged = episode_metrics(results.episodes, [*suite.entries], resamples)
            summary = _fill(new, suite, scores, remarks, judged, resamples)
            if out.exists():
                out.rename(Path(scratch, "old"))
            new.rename(out)
    return summary


def check_protocols(results: Results) -> tuple[list[str], list[str]]:
    """Compare the protocols of the students among themselves and with their teachers'.

    Returns:
        Sentences about differences, with which scores are not comparable; and about what is
        unknown.
    """
    different: list[str] = []
    not_noted: list[str] = []
    for reference in results.references:
        game, teacher = reference.game, _protocol(reference, "teacher_")
        students = {_protocol(row) for row in results.evaluations if row.game == game}
        different.extend(_among_students(game, students))
        different.extend(differences(game, teacher, students))
        not_noted.extend(unknown(game, teacher))
    return different, not_noted


def _protocol(row: EvaluationRow | ReferenceRow, prefix: str = "") -> ScoreProtocol:
    return ScoreProtocol(**{field: getattr(row, f"{prefix}{field}") for field in UNITS})


def _among_students(game: str, students: Collection[ScoreProtocol]) -> Iterator[str]:
    for field, unit in UNITS.items():
        values = sorted({getattr(student, field) for student in students})
        if len(values) > 1:
            yield f"{game}: students were evaluated with different {unit}: {values}"


def _check_replaceable(out: Path) -> None:
    is_report = (out / SUMMARY).is_file() and (out / PAGE_FILE).is_file()
    if out.exists() and not is_report and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not a report: choose another --out")


def _fill(
    folder: Path,
    suite: Suite,
    scores: SuiteScores,
    remarks: Sequence[str],
    judged: pd.DataFrame,
    resamples: int,
) -> dict[str, Any]:
    tables = compute_tables(suite, scores, resamples=resamples)
    for name in ("iqm_curve", "performance_profiles", "improvement", "games"):
        getattr(tables, name).to_csv(folder / f"{name}.csv", index=False)
    if len(judged):
        judged.to_csv(folder / "episode_metrics.csv", index=False)
    sweeps = [(one, table) for one in suite.sweeps if len(table := sweep_table(one, tables))]
    for sweep, table in sweeps:
        table.to_csv(folder / f"sweep_{sweep.entry}.csv", index=False)
    # Figures show remarks without the names of runs and games.
    marks = dict.fromkeys(f"{remark.partition(':')[0]}." for remark in remarks)
    pictures = Painter(suite, tables, scores, " ".join(marks)).draw_all(folder, sweeps)
    page = make_page(suite, tables, scores, pictures, remarks, judged, folder, sweeps)
    (folder / PAGE_FILE).write_text(page, encoding="utf-8")
    summary = _summary(suite, scores, tables, remarks)
    if len(judged):
        known = judged.astype(object).where(judged.notna(), None)
        summary["episode_metrics"] = known.to_dict("records")
    text = json.dumps(summary, indent=1, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")
    return summary


def _summary(
    suite: Suite, scores: SuiteScores, tables: Tables, remarks: Sequence[str]
) -> dict[str, Any]:
    by_entry = {one.entry: one for one in scores.entries}
    return {
        "suite": suite.name,
        "title": suite.title,
        "iqm": _final(tables.iqm_curve, "iqm"),
        "improvement_over_teacher": _final(tables.improvement, "probability"),
        "entries": {
            name: {"label": suite.label_of(name), **by_entry[name].facts} for name in tables.labels
        },
        "sweeps": {
            sweep.entry: {
                "settings": list(sweep.settings),
                "points": {name: list(values) for name, values in sweep.points.items()},
            }
            for sweep in suite.sweeps
        },
        "references": {
            game: {"random": row.random_return, "teacher": row.teacher_return}
            for game, row in scores.references.items()
        },
        "confidence": CONFIDENCE,
        "resamples": tables.resamples,
        "sessions": [vars(row) for row in scores.sessions],
        "missing_runs": list(scores.missing),
        "runs_left_out": [*scores.left_out, *scores.unscaled],
        "remarks": list(remarks),
    }


def _final(table: pd.DataFrame, statistic: str) -> dict[str, dict[str, float]]:
    """Entry -> its last estimate, with the interval."""
    rows = last_of(table).set_index("entry").rename(columns={statistic: "point"})
    return {str(entry): row for entry, row in rows[_ESTIMATE].to_dict("index").items()}


def _remarks(scores: SuiteScores, different: Sequence[str], not_noted: Sequence[str]) -> list[str]:
    remarks = [f"Scores are not comparable: {one}." for one in different]
    remarks += [f"Scores may not be comparable: {one}." for one in not_noted]
    for what, runs in (
        (f"The suite is incomplete, {len(scores.missing)} missing", scores.missing),
        ("Runs not counted, since other games have fewer repetitions", scores.left_out),
        ("Runs not counted, since the score of their teacher is unknown", scores.unscaled),
    ):
        if runs:
            named = textwrap.shorten(", ".join(runs), _NAMED_CHARACTERS, placeholder=_MORE)
            remarks.append(f"{what}: {named}.")
    return remarks
