"""A run's status on the terminal, and as a JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rrl_agents.scores import score_if_known
from rrl_agents.typed_json import encode
from services.cli.status.readings import in_words
from services.cli.status.run_status import Checkpoint, Role, RunStatus
from services.launcher.progress_display import StageBars, format_duration, stages
from services.learner.codec import progress_from_proto
from services.learner.v1.learner_pb2 import GetProgressResponse
from services.shared.errors import printable


def render(status: RunStatus, bars: StageBars) -> RenderableType:
    """Draw everything that is known.

    Args:
        status: Of a run.
        bars: Its stages, as seen so far.
    """
    return Group(*_parts(status, bars))


def to_json(status: RunStatus) -> str:
    """A status as a JSON object; what is unknown, or no finite number, is null."""
    content = {
        "run": None if status.run is None else str(status.run),
        "up": status.up,
        "note": status.note,
        "progress": None if status.progress is None else _progress(status.progress),
        "checkpoint": encode(status.checkpoint),
        "roles": encode(status.roles),
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False)


def _parts(status: RunStatus, bars: StageBars) -> Iterator[RenderableType]:
    yield Text(printable(str(status.run or "run")), style="bold")
    if status.note is not None:
        yield Text(printable(status.note), style="yellow")
    if status.progress is not None:
        yield bars.panel(status.progress)
    if status.checkpoint is not None:
        yield Text(_checkpoint(status.checkpoint))
    if status.roles:
        yield _roles(status.roles)


def _checkpoint(checkpoint: Checkpoint) -> str:
    parts = ["newest checkpoint"]
    if checkpoint.number is not None:
        parts[0] += f" {checkpoint.number}"
    if checkpoint.updates is not None:
        parts.append(f"after {checkpoint.updates:,} updates")
    if checkpoint.age_seconds is not None:
        parts.append(f"{format_duration(checkpoint.age_seconds)} old")
    return ", ".join(parts)


def _roles(roles: Sequence[Role]) -> Table:
    table = Table.grid(padding=(0, 2))
    for role in roles:
        table.add_row(
            Text(printable(role.name)),
            Text("up", style="green") if role.up else Text("down", style="bold red"),
            Text(in_words(role.readings)),
        )
    return table


def _progress(answer: GetProgressResponse) -> dict[str, object]:
    progress = progress_from_proto(answer.progress)
    return {
        **encode(progress),
        "stage": progress.stage.name.lower(),
        "normalised_score": score_if_known(
            progress.student_return, progress.random_return, progress.teacher_return
        ),
        "stages": encode(stages(answer)),
        "updates_per_second": answer.updates_per_second,
        "losses": dict(answer.losses),
        "seconds_at_work": answer.seconds,
    }


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
