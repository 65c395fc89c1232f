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
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.sealed_json import SEAL, seal, unseal
from services.run_report.learning_curve import CurvePoint
from services.shared.errors import UserError

FORMAT = "rrl-baseline-1"
"""First field of the file; another value is another schema."""

MAX_FILE_BYTES = 8 * 1024 * 1024
"""Larger baseline files are refused."""

_CLOCKS = ("offline_updates", "online_updates", "frames")
_RETURNS = ("mean_return", "low", "high")
_POINT_FIELDS = {*_CLOCKS, *_RETURNS, "episodes"}


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
        if not self.points:
            raise ValueError("it has no points; a baseline needs at least one evaluation")
        frames = [point.frames for point in self.points]
        if frames != sorted(frames):
            raise ValueError("frames of its points must not decrease")


def encode_baseline(baseline: Baseline) -> str:
    """Returns the file's text, one point a line so that it reads and diffs well."""
    head: dict[str, Any] = {
        "format": FORMAT,
        "command": baseline.command,
        "method": baseline.method,
        "game": baseline.game,
        "frames_per_step": baseline.frames_per_step,
    }
    points = [
        {name: getattr(point, name) for name in sorted(_POINT_FIELDS)} for point in baseline.points
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
        return _decode(unseal(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no baseline file ({error}); {advice}") from error


def _decode(data: Any) -> Baseline:
    _require_fields(data, {"format", "command", "method", "game", "frames_per_step", "points"})
    if data["format"] != FORMAT:
        raise ValueError(f"its format is {data['format']!r}, must be {FORMAT!r}")
    for name in ("command", "method", "game"):
        if not isinstance(data[name], str):
            raise ValueError(f"{name} is {data[name]!r}, must be text")
    if not isinstance(data["points"], list):
        raise ValueError("points must be a list")
    return Baseline(
        command=data["command"],
        method=data["method"],
        game=data["game"],
        frames_per_step=_whole(data, "frames_per_step", 1),
        points=tuple(_decode_point(point) for point in data["points"]),
    )


def _decode_point(data: Any) -> CurvePoint:
    _require_fields(data, _POINT_FIELDS)
    clocks = {name: _whole(data, name, 0) for name in _CLOCKS}
    returns = {name: _finite(data, name) for name in _RETURNS}
    if not returns["low"] <= returns["mean_return"] <= returns["high"]:
        raise ValueError(f"the mean lies outside its interval in {data}")
    return CurvePoint(
        offline_updates=clocks["offline_updates"],
        online_updates=clocks["online_updates"],
        frames=clocks["frames"],
        mean_return=returns["mean_return"],
        low=returns["low"],
        high=returns["high"],
        episodes=_whole(data, "episodes", 1),
    )


def _require_fields(data: Any, names: set[str]) -> None:
    if not isinstance(data, dict):
        raise ValueError(f"{str(data)[:40]!r} must be an object")
    if data.keys() != names:
        raise ValueError(f"fields missing or unknown: {', '.join(sorted(data.keys() ^ names))}")


def _whole(data: Mapping[str, Any], name: str, low: int) -> int:
    value = data[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} is {value!r}, must be a whole number from {low}")
    return value


def _finite(data: Mapping[str, Any], name: str) -> float:
    value = data[name]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, must be a finite number")
    return float(value)
