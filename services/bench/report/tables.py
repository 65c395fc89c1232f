"""The numbers of a report: what its CSV files and its page's tables hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from services.bench.report.aggregates import Aggregates
from services.bench.results import ReferenceRow


@dataclasses.dataclass(frozen=True)
class CurveRow:
    """The IQM of one entry at one point, with its 95% interval."""

    entry: str
    frames: int
    games: int
    seeds: int
    iqm: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class ProfileRow:
    """Share of an entry's runs with a score above a threshold, with its 95% interval."""

    entry: str
    threshold: float
    share: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class ImprovementRow:
    """Probability that a run of an entry scores above its teacher, with its 95% interval."""

    entry: str
    games: int
    seeds: int
    probability: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class GameRow:
    """Mean return of an entry in one game at one point, with its 95% interval over seeds."""

    entry: str
    game: str
    frames: int
    seeds: int
    mean_return: float
    low: float
    high: float
    random_return: float
    teacher_return: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tables:
    """All tables; entries in the order of their final scores.

    Attributes:
        curve: Every point of every entry.
        profile: Every threshold of every entry.
        improvement: One row per entry.
        games: Every point of every game of every entry.
    """

    curve: tuple[CurveRow, ...]
    profile: tuple[ProfileRow, ...]
    improvement: tuple[ImprovementRow, ...]
    games: tuple[GameRow, ...]


def make_tables(aggregates: Aggregates, references: Mapping[str, ReferenceRow]) -> Tables:
    """Write the aggregates as rows.

    Args:
        aggregates: What was computed.
        references: Game -> random policy and teacher.
    """
    return Tables(
        curve=tuple(
            CurveRow(one.entry, int(frames), len(one.scores.games), one.scores.repetitions, *found)
            for one in aggregates.entries
            for frames, found in zip(one.scores.frames, one.iqm.rows(), strict=True)
        ),
        profile=tuple(
            ProfileRow(one.entry, float(threshold), *found)
            for one in aggregates.entries
            for threshold, found in zip(aggregates.thresholds, one.profile.rows(), strict=True)
        ),
        improvement=tuple(
            ImprovementRow(one.entry, len(one.scores.games), one.scores.repetitions, *found)
            for one in aggregates.entries
            for found in one.improvement.rows()
        ),
        games=tuple(
            GameRow(
                one.entry,
                game,
                int(frames),
                one.scores.repetitions,
                *found,
                references[game].random_return,
                references[game].teacher_return,
            )
            for one in aggregates.entries
            for game, estimate in one.games.items()
            for frames, found in zip(one.scores.frames, estimate.rows(), strict=True)
        ),
    )
