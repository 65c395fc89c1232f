"""A suite's report: figures, tables, summary.json and one page, in a folder that is swapped whole.

iqm_curve.png  final_iqm.png  performance_profiles.png  improvement.png  games.png
iqm_curve.csv  performance_profiles.csv  improvement.csv  games.csv
summary.json   index.html
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.bench.csv_files import write_rows
from services.bench.report.aggregates import Aggregates, EntryAggregates, aggregate
from services.bench.report.figures import Painter
from services.bench.report.page import PageContent, make_page
from services.bench.report.protocol import ProtocolCheck, check_protocols
from services.bench.report.scores import SuiteScores, arrange
from services.bench.report.tables import (
    CurveRow,
    GameRow,
    ImprovementRow,
    ProfileRow,
    make_tables,
)
from services.bench.results import Results
from services.bench.suite import Suite
from services.shared.errors import UserError

SUMMARY, PAGE = "summary.json", "index.html"

_MOST_NAMED = 10
"""Runs that a remark names."""


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
        suite: What was compared.
        results: Raw scores.
        out: The report's folder; replaced if it is a report.
        resamples: Bootstrap resamples behind every interval.
        mixed_protocols: Whether to go on, and say so plainly, where scores were measured under
            different protocols.

    Returns:
        The content of summary.json.

    Raises:
        UserError: nothing is finished, scores do not compare, or the folder is something else or
            cannot be written.
    """
    if resamples < 1:
        raise UserError(f"--resamples is {resamples}; use 1 or more")
    check = check_protocols(results)
    if check.differences and not mixed_protocols:
        raise UserError(_refusal(check))
    scores = arrange(suite, results)
    try:
        _check_replaceable(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            summary = _fill(new, suite, scores, check, resamples)
            if out.exists():
                out.rename(Path(scratch, "old"))
            new.rename(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error})") from error
    return summary


def _fill(
    folder: Path, suite: Suite, scores: SuiteScores, check: ProtocolCheck, resamples: int
) -> dict[str, Any]:
    remarks = _remarks(scores, check)
    aggregates = aggregate(scores, resamples=resamples)
    tables = make_tables(aggregates, scores.references)
    write_rows(folder / "iqm_curve.csv", CurveRow, tables.curve)
    write_rows(folder / "performance_profiles.csv", ProfileRow, tables.profile)
    write_rows(folder / "improvement.csv", ImprovementRow, tables.improvement)
    write_rows(folder / "games.csv", GameRow, tables.games)
    remark = _short_remark(scores, check)
    pictures = Painter(suite, aggregates, scores.references, remark).draw_all(folder)
    content = PageContent(
        suite=suite,
        aggregates=aggregates,
        references=scores.references,
        pictures=pictures,
        remarks=remarks,
    )
    (folder / PAGE).write_text(make_page(content, folder), encoding="utf-8")
    summary = _summary(suite, scores, aggregates, remarks)
    text = json.dumps(summary, indent=1, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")
    return summary


def _summary(
    suite: Suite, scores: SuiteScores, aggregates: Aggregates, remarks: Sequence[str]
) -> dict[str, Any]:
    entries = aggregates.entries
    return {
        "suite": suite.name,
        "title": suite.title,
        "iqm": {one.entry: _interval(*one.final_iqm) for one in entries},
        "improvement_over_teacher": {
            one.entry: _interval(*next(iter(one.improvement.rows()))) for one in entries
        },
        "entries": {one.entry: _counts(suite, one) for one in entries},
        "references": {
            game: {"random": row.random_return, "teacher": row.teacher_return}
            for game, row in scores.references.items()
        },
        "confidence": 0.95,
        "resamples": aggregates.resamples,
        "missing_runs": list(scores.missing),
        "runs_left_out": [*scores.left_out, *scores.unscaled],
        "remarks": list(remarks),
    }


def _interval(point: float, low: float, high: float) -> dict[str, float]:
    return {"point": point, "low": low, "high": high}


def _counts(suite: Suite, entry: EntryAggregates) -> dict[str, Any]:
    scores = entry.scores
    return {
        "label": suite.label_of(entry.entry),
        "games": len(scores.games),
        "seeds": scores.repetitions,
        "episodes": scores.episodes,
        "final_episodes": scores.final_episodes,
        "epsilon": scores.epsilon,
        "frames": int(scores.frames[-1]),
    }


def _remarks(scores: SuiteScores, check: ProtocolCheck) -> list[str]:
    remarks = [f"Scores do not compare: {one}." for one in check.differences]
    remarks += [f"Not known whether scores compare: {one}." for one in check.unknown]
    if scores.missing:
        names = named_runs(scores.missing)
        remarks.append(f"{_incomplete(scores)}: {names}.")
    if scores.left_out:
        names = named_runs(scores.left_out)
        remarks.append(f"Not counted, as other games have fewer repetitions: {names}.")
    if scores.unscaled:
        names = named_runs(scores.unscaled)
        remarks.append(f"Not counted, as nobody knows the score of their teacher: {names}.")
    return remarks


def named_runs(runs: Sequence[str]) -> str:
    """The first few of many names; all of them stand in the summary."""
    if len(runs) <= _MOST_NAMED:
        return ", ".join(runs)
    named = ", ".join(runs[:_MOST_NAMED])
    return f"{named} and {len(runs) - _MOST_NAMED} more ({SUMMARY} names all)"


def _short_remark(scores: SuiteScores, check: ProtocolCheck) -> str:
    words = ["Scores were measured under different protocols!"] if check.differences else []
    words += [f"{_incomplete(scores)}."] if scores.missing else []
    return " ".join(words)


def _incomplete(scores: SuiteScores) -> str:
    count = len(scores.missing)
    return f"The suite is incomplete, {count} {'run is' if count == 1 else 'runs are'} missing"


def _refusal(check: ProtocolCheck) -> str:
    found = "\n".join(f"  {one}" for one in check.differences)
    return (
        f"scores were measured under different protocols, and do not compare:\n{found}\nmeasure "
        "the teacher as the students are, or mark the report with --mixed-protocols"
    )


def _check_replaceable(out: Path) -> None:
    is_report = (out / SUMMARY).is_file() and (out / PAGE).is_file()
    if out.exists() and not is_report and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not a report: choose another --out")
