"""Baseline files: the curve of a finished run, for the reports of other runs to draw.

The file is JSON with a digest (`rrl_agents.checkpoints.sealed_json`) and these fields:

    format          "rrl-baseline-1"
    command         the command that made the run
    method, game    as in the run's config.json
    frames_per_step environment frames of one agent step
    points          a list, in the order of the run, of objects with
        offline_updates, online_updates, frames    clocks, whole numbers from 0
        mean_return, low, high                     mean and its 95% interval over the episodes
        episodes                                   whole number from 1
        weaning_weight                             optional; not drawn for a baseline
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.ranges import check_ranges
from rrl_agents.typed_json import encode
from services.run_report.learning_curve import CurvePoint
from services.shared.errors import UserError

MAX_FILE_BYTES = 8 * 1024 * 1024
"""Larger baseline files are refused."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
    """The curve of a finished run.

    Attributes:
        command: The command that made the run.
        method: Method of the run, e.g. "tabula_rasa".
        game: Game of the run.
        frames_per_step: Environment frames of one agent step.
        points: Evaluations in the order of the run, at least one; the last is the run's outcome.
        format: Version of the file's schema.
    """

    command: str
    method: str
    game: str
    frames_per_step: int
    points: tuple[CurvePoint, ...]
    format: Literal["rrl-baseline-1"] = "rrl-baseline-1"

    def __post_init__(self) -> None:
        """Refuse a curve without points, or with impossible numbers."""
        check_ranges(self, "frames_per_step", least=1)
        if not self.points:
            raise ValueError("it has no points; a baseline needs at least one evaluation")
        for point in self.points:
            check_ranges(point, "offline_updates", "online_updates", "frames", least=0)
            check_ranges(point, "episodes", least=1)
            if not point.low <= point.mean_return <= point.high:
                raise ValueError(f"the mean lies outside its interval in {point}")
        frames = [point.frames for point in self.points]
        if frames != sorted(frames):
            raise ValueError("frames of its points must not decrease")


def encode_baseline(baseline: Baseline) -> str:
    """The text of a baseline's file."""
    return seal(encode(baseline), indent=1) + "\n"


def read_baseline(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        UserError: It is missing, too large, not as it was written, or not of the format.
    """
    try:
        text = read_bounded(path, MAX_FILE_BYTES, what="a baseline file").decode()
        return decode_sealed(Baseline, text, "baseline")
    except ValueError as error:
        raise UserError(
            f"{path} is not a baseline file ({error}); make one with: rrl report RUN "
            "--export-baseline FILE"
        ) from error
