"""The results of a run's evaluations, one JSON line each, in a file that survives a crash.

A run's `metrics/evaluations.jsonl` is append-only: each record is one line, flushed and synced
before `append_record` returns. A last line without a line end was cut off by a crash: readers skip
it, and the next append removes it. Any other line that is not a record is an error.

A run that resumes from a checkpoint repeats some of its work. The records of the lost work stay in
the file; `current_records` leaves them out.

Units: returns are undiscounted sums of raw rewards; steps are decisions; updates are gradient
steps.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.ranges import check_known, check_ranges
from rrl_agents.typed_json import encode, may_be_missing
from rrl_agents.types import Stage
from services.shared.errors import UserError

STAGES = tuple(stage.name.lower() for stage in Stage)
"""Names of the stages, in the order of a run."""

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Larger files are refused; a record has a few hundred bytes, and a run a few hundred records."""

MAX_METRICS = 16
"""Most metrics of an episode, besides its return."""
MAX_METRIC_NAME = 64

CLOCKS = ("teacher_steps", "offline_updates", "online_updates", "actor_steps")
"""Fields of a record that have the same name and meaning in `Progress`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """One evaluation: the player, the run's clocks, and every finished episode.

    All clocks are those of the moment when the weights were published.

    Attributes:
        player: "student" or "teacher".
        weights_version: Version of the student's weights that played; 0 for the teacher.
        stage: Stage of the run, one of `STAGES`.
        teacher_steps: Decisions in the teacher's table.
        offline_updates: Offline gradient steps of the weights.
        online_updates: Online gradient steps of the weights.
        actor_steps: Decisions of the students.
        weaning_weight: Weight lambda of the teacher's loss after this result, in [0, 1].
        episode_returns: Undiscounted, unclipped return of each finished episode.
        episode_steps: Decisions of each of these episodes.
        epsilon: Exploration rate of the player, in [0, 1].
        seconds_since_start: Wall-clock seconds of all the run's sessions; for the teacher, at the
            moment when its result arrived.
        final: Whether this is the evaluation of the finished student.
        episode_metrics: Name of a metric of the environment -> its value in each of these episodes.
    """

    player: Literal["student", "teacher"]
    weights_version: int
    stage: str
    teacher_steps: int
    offline_updates: int
    online_updates: int
    actor_steps: int
    weaning_weight: float
    episode_returns: tuple[float, ...]
    episode_steps: tuple[int, ...]
    epsilon: float
    seconds_since_start: float
    final: bool
    episode_metrics: Mapping[str, tuple[float, ...]] = may_be_missing({})

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: a value is out of range; names the field, its value and the range.
        """
        check_known(self, "player", ("student", "teacher"))
        check_known(self, "stage", STAGES)
        check_ranges(self, "weights_version", *CLOCKS, "seconds_since_start", least=0)
        check_ranges(self, "weaning_weight", "epsilon", least=0, most=1)
        check_episodes(self.episode_returns, self.episode_steps)
        check_metrics(self.episode_metrics, len(self.episode_returns))

    @property
    def learner_updates(self) -> int:
        """Gradient steps of the weights, over both stages."""
        return self.offline_updates + self.online_updates


def check_episodes(returns: Sequence[float], steps: Sequence[int]) -> None:
    """Check that returns and steps can be those of finished episodes.

    Raises:
        ValueError: there are no episodes, the two differ in length, or a number is out of range.
    """
    if not returns or len(returns) != len(steps):
        raise ValueError(
            f"{len(returns)} episode_returns and {len(steps)} episode_steps; give one of each per "
            "finished episode, for at least one episode"
        )
    if not all(map(math.isfinite, returns)):
        raise ValueError(f"episode_returns must be finite, found {returns}")
    if min(steps) < 1:
        raise ValueError(f"an episode has at least 1 step, found {min(steps)}")


def check_metrics(metrics: Mapping[str, Sequence[float]], episodes: int) -> None:
    """Check that each metric has a finite number for every episode.

    Raises:
        ValueError: one does not, there are too many metrics, or a name is too long.
    """
    if len(metrics) > MAX_METRICS or any(len(name) > MAX_METRIC_NAME for name in metrics):
        raise ValueError(
            f"there are {len(metrics)} episode_metrics; give at most {MAX_METRICS}, with names of "
            f"up to {MAX_METRIC_NAME} characters"
        )
    for name, values in metrics.items():
        if len(values) != episodes or not all(map(math.isfinite, values)):
            raise ValueError(
                f"episode_metrics has {len(values)} numbers for {name}; give a finite one for each "
                f"of the {episodes} episodes"
            )


def encode_record(record: EvaluationRecord) -> str:
    """Encode a record as one line of JSON with its digest, without the line end."""
    return seal(encode(record), indent=None)


def decode_record(line: str) -> EvaluationRecord:
    """Decode one line of JSON.

    Args:
        line: A line from `encode_record`.

    Returns:
        The record, equal to the encoded one.

    Raises:
        ValueError: The line is not a JSON object or has changed since it was written, or a field is
            missing, unknown or of another type.
    """
    return decode_sealed(EvaluationRecord, line, "evaluation record")


def append_record(path: Path, record: EvaluationRecord) -> None:
    """Append one record; it is on disk when this returns.

    Args:
        path: The file; it and its folder are created if missing. Only one process may append.
        record: The record to append.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = encode_record(record) + "\n"
    with path.open("a+b") as file:
        file.seek(0)
        # Remove a last line that a crash has cut off.
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> tuple[EvaluationRecord, ...]:
    """Read all records, oldest first; skips a last line that a crash has cut off.

    Args:
        path: The file; if it does not exist, there are no records.

    Returns:
        The records in file order, including those of lost work (see `current_records`).

    Raises:
        UserError: The file is too large, or a complete line is not a record.
    """
    if not path.exists():
        return ()
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise UserError(f"{path} has {size:,} bytes, more than the {MAX_FILE_BYTES:,} allowed")
    *complete, _torn = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(complete, start=1):
        try:
            records.append(decode_record(line.decode()))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}, line {number} is not an evaluation record ({error}); "
                "restore the file, or remove that line"
            ) from error
    return tuple(records)


def count_lines(path: Path) -> int:
    """Number of complete lines in the file, valid or not; 0 if it does not exist."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def current_records(records: Iterable[EvaluationRecord]) -> tuple[EvaluationRecord, ...]:
    """Leave out the student's records of work that was lost when the run resumed.

    Args:
        records: All records, in file order.

    Returns:
        The teacher's records, and the student's, with clocks that never run backwards. Of weights
        that were evaluated twice, only the newest record.
    """
    kept: list[EvaluationRecord] = []
    for record in records:
        if record.player == "student":
            kept = [old for old in kept if old.player == "teacher" or _is_earlier(old, record)]
        kept.append(record)
    return tuple(kept)


def _is_earlier(one: EvaluationRecord, other: EvaluationRecord) -> bool:
    """Whether `one` is of earlier weights than `other`, or of the same ones before they were final.

    Steps are not compared: after the same updates, a resumed run may have another number of steps.
    """
    return (one.learner_updates, one.final) < (other.learner_updates, other.final)
