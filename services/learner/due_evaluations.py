"""Pending evaluations between the learner's memory and a checkpoint's record."""

from __future__ import annotations

from services.learner.checkpoint_records import DueWeights, RunCheckpoint, RunRecord
from services.learner.checkpointing import restore_due
from services.learner.pending_evaluations import EvaluationsState
from services.learner.published_weights import Snapshot


def record_of(state: EvaluationsState) -> RunRecord:
    """The record of a checkpoint of this moment."""
    return RunRecord(
        progress=state.progress,
        seconds=state.seconds,
        due=tuple(
            DueWeights(
                version=one.version,
                progress=one.progress,
                seconds=one.seconds,
                final=one.final,
                sessions=one.sessions,
            )
            for one in state.due
        ),
        evaluation_lines=state.lines,
    )


def due_in(checkpoint: RunCheckpoint) -> list[Snapshot]:
    """The weights that are due again, in the order they were requested.

    Raises:
        UserError: they cannot be read.
    """
    params = restore_due(checkpoint)
    return [
        Snapshot(
            version=one.version,
            params=params[one.version],
            progress=one.progress,
            seconds=one.seconds,
            sessions=one.sessions,
            final=one.final,
        )
        for one in checkpoint.record.due
    ]
