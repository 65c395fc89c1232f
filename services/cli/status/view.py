"""A run's status on the terminal, and as a JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rrl_agents.scores import score_if_known
from rrl_agents.typed_json import encode
from services.cli.status.run_status import READINGS, Checkpoint, Role, RunStatus
from services.launcher.progress_display import StageBars, format_duration, stages
from services.learner.codec import progress_from_proto
from services.learner.v1.learner_pb2 import GetProgressResponse
from services.shared.errors import printable


def render(status: RunStatus, bars: StageBars) -> RenderableType:
    """Draw everything that is known.

    Args:
        status: A run's status.
        bars: Its stages, as seen so far.
    """
    parts: list[RenderableType] = [Text(printable(str(status.run or "run")), style="bold")]
    if status.note is not None:
        parts.append(Text(printable(status.note), style="yellow"))
    if status.progress is not None:
        parts.append(bars.panel(status.progress))
    if status.checkpoint != Checkpoint():
        parts.append(Text(_checkpoint(status.checkpoint)))
    return Group(*parts, _roles(status.roles))


def to_json(status: RunStatus) -> str:
    """A status as a JSON object; null for unknown values and numbers that are not finite."""
    progress = None if status.progress is None else _progress(status.progress)
    content = {**encode(status), "up": status.up, "progress": progress}
    return json.dumps(_finite(content), indent=1, allow_nan=False, default=str)


def _checkpoint(checkpoint: Checkpoint) -> str:
    number, updates, age = checkpoint.number, checkpoint.updates, checkpoint.age_seconds
    parts = (
        "newest checkpoint" if number is None else f"newest checkpoint {number}",
        None if updates is None else f"after {updates:,} updates",
        None if age is None else f"{format_duration(age)} old",
    )
    return ", ".join(part for part in parts if part)


def _roles(roles: Sequence[Role]) -> Table:
    table = Table.grid(padding=(0, 2))
    for role in roles:
        table.add_row(
            Text(printable(role.name)),
            Text("up", style="green") if role.up else Text("down", style="bold red"),
            Text(", ".join(READINGS[one].format(value) for one, value in role.readings.items())),
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
