"""A finished run kept as data: the curve that another run's report draws beside its own.

The file is JSON with exactly these fields:

    format          "rrl-baseline-1"
    command         the command that made the run
    method, game    as in the run's config.json
    frames_per_step environment frames of one agent step
    points          a list, in the order of the run, of objects with
        offline_updates, online_updates, frames    clocks, whole numbers from 0
        mean_return, low, high                     mean and its 95% interval over the episodes
        episodes                                   whole number from 1
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.sealed_json import SEAL, seal, unseal
from rrl_agents.typed_json import decode, encode
from services.run_report.learning_curve import CurvePoint
from services.shared.errors import UserError

FORMAT = "rrl-baseline-1"
"""First field of the file; another value is another schema."""

MAX_FILE_BYTES = 8 * 1024 * 1024
"""Larger baseline files are refused."""

_NOT_WRITTEN = "weaning_weight"
"""A baseline has its own weight of distillation, which says nothing beside another run's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
    """The curve of a finished run.

    Attributes:
        command: The command that made the run.
        method: Its method, e.g. "tabula_rasa".
        game: What it played.
        frames_per_step: Environment frames of one agent step.
        points: Its evaluations in the order of the run, at least one; the last is its outcome.
    """

    command: str
    method: str
    game: str
    frames_per_step: int
    points: tuple[CurvePoint, ...]

    def __post_init__(self) -> None:
        """Refuses a curve without points or with clocks that run backwards.

        Raises:
            ValueError: Saying which.
        """
        if self.frames_per_step < 1:
            raise ValueError(f"frames_per_step is {self.frames_per_step}, must be 1 or more")
        if not self.points:
            raise ValueError("it has no points; a baseline needs at least one evaluation")
        for point in self.points:
            _check_point(point)
        frames = [point.frames for point in self.points]
        if frames != sorted(frames):
            raise ValueError("frames of its points must not decrease")


def _check_point(point: CurvePoint) -> None:
    counts = (point.offline_updates, point.online_updates, point.frames)
    if min(counts) < 0 or point.episodes < 1:
        raise ValueError(
            f"episodes must be 1 or more and clocks 0 or more; episodes is {point.episodes}, "
            f"clocks are {counts}"
        )
    if not point.low <= point.mean_return <= point.high:
        raise ValueError(f"the mean lies outside its interval in {point}")


def encode_baseline(baseline: Baseline) -> str:
    """Returns the file's text, one point a line so that it reads and diffs well."""
    head: dict[str, Any] = {"format": FORMAT, **encode(baseline)}
    points = [
        {name: value for name, value in sorted(point.items()) if name != _NOT_WRITTEN}
        for point in head.pop("points")
    ]
    head[SEAL] = json.loads(seal({**head, "points": points}))[SEAL]
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    written = ",\n".join(f"  {json.dumps(point)}" for point in points)
    return "\n".join(["{", *lines, ' "points": [', written, " ]", "}", ""])


def read_baseline(path: Path) -> Baseline:
    """Reads a baseline file.

    Args:
        path: The file.

    Returns:
        Its curve.

    Raises:
        UserError: The file is missing, too large, or not of the format.
    """
    advice = "make one with: rrl report RUN --export-baseline FILE"
    if not path.is_file():
        raise UserError(f"no baseline file {path}; {advice}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(f"{path} is larger than the {MAX_FILE_BYTES:,} bytes of a baseline file")
    try:
        return _decoded(unseal(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no baseline file ({error}); {advice}") from error


def _decoded(content: dict[str, Any]) -> Baseline:
    if (found := content.pop("format", None)) != FORMAT:
        raise ValueError(f"its format is {found!r}, must be {FORMAT!r}")
    return decode(Baseline, content, "baseline")
