"""Evaluations that had not come back, between the desk and a commit."""

from __future__ import annotations

from services.learner.checkpoint_records import Commit, DueWeights, RunRecord
from services.learner.checkpointing import restore_due
from services.learner.evaluation_desk import DeskNote
from services.learner.weight_store import Snapshot


def record_of(note: DeskNote) -> RunRecord:
    """What a commit says of a moment of the run."""
    return RunRecord(
        progress=note.progress,
        seconds=note.seconds,
        due=tuple(
            DueWeights(
                version=one.version,
                progress=one.progress,
                seconds=one.seconds,
                final=one.final,
                sessions=one.sessions,
            )
            for one in note.due
        ),
        evaluation_lines=note.lines,
    )


def due_in(commit: Commit) -> list[Snapshot] | None:
    """The weights that are to be evaluated again, in the order they were asked for.

    Returns:
        The weights; None for a commit of a version that did not note them.

    Raises:
        UserError: they cannot be read.
    """
    if commit.record.due is None:
        return None
    params = restore_due(commit)
    return [
        Snapshot(
            version=one.version,
            params=params[one.version],
            progress=one.progress,
            seconds=one.seconds,
            sessions=one.sessions,
            final=one.final,
        )
        for one in commit.record.due
    ]
