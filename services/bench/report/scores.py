"""From rows to arrays: the returns of a suite, arranged by entry, repetition, game and frames.

Only finished runs count, and rliable needs the same number of repetitions of every game: where runs
are missing, an entry has the games that it has any run of, and as many repetitions as the game with
the fewest. What is left out is named.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rrl_agents.scores import check_scale
from services.bench.results import EvaluationRow, ReferenceRow, Results
from services.bench.suite import Suite
from services.shared.errors import UserError

_Run: TypeAlias = tuple[str, str, int]
"""Entry, game and seed."""

_Curve: TypeAlias = Mapping[int, EvaluationRow]
"""Frames -> the evaluation after them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntryScores:
    """The finished runs of one entry.

    Attributes:
        entry: Its name.
        games: G games, in the order of the suite.
        frames: int64 [P], environment frames of online play, rising; the points that all its runs
            have. The last are those of the final weights.
        returns: float64 [R, G, P], mean returns of R repetitions.
        scores: float64 [R, G, P], the same, teacher-normalised.
        episodes: Episodes of an evaluation during the runs, the fewest; None where there is none
            but the last.
        final_episodes: Episodes of the last evaluation, the fewest.
        epsilon: Exploration rate of the evaluations.
    """

    entry: str
    games: tuple[str, ...]
    frames: NDArray[np.int64]
    returns: NDArray[np.float64]
    scores: NDArray[np.float64]
    episodes: int | None
    final_episodes: int
    epsilon: float

    @property
    def repetitions(self) -> int:
        """Runs of each game."""
        return int(self.scores.shape[0])

    @property
    def final(self) -> NDArray[np.float64]:
        """float64 [R, G], scores of the final weights."""
        return self.scores[:, :, -1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteScores:
    """All entries that have finished runs.

    Attributes:
        entries: In the order of the suite.
        references: Game -> what its scores are measured by.
        missing: Names of runs that are not finished.
        left_out: Names of finished runs that are not counted, as other games have fewer.
        unscaled: Names of finished runs that are not counted, as their game has no reference.
    """

    entries: tuple[EntryScores, ...]
    references: Mapping[str, ReferenceRow]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    unscaled: tuple[str, ...]


def arrange(suite: Suite, results: Results) -> SuiteScores:
    """Arrange a suite's rows.

    Args:
        suite: What was to be compared.
        results: What is there of it.

    Raises:
        UserError: no run is finished and has a reference, a teacher is no better than the random
            policy, or the runs of an entry have different budgets.
    """
    references = {row.game: row for row in results.references}
    finished = _finished_curves(results.evaluations)
    asked = list(itertools.product(suite.entries, suite.games, suite.seeds))
    scaled = [run for run in asked if run in finished and run[1] in references]
    counted = {name: _counted(name, scaled) for name in suite.entries}
    if not scaled:
        raise UserError(
            "no game with finished runs has a reference: its teacher is missing or has no score"
            if finished
            else "no run of this suite is finished yet; rrl bench run resumes it"
        )
    return SuiteScores(
        entries=tuple(
            _entry_scores(name, {run: finished[run] for run in runs}, references)
            for name, runs in counted.items()
            if runs
        ),
        references=references,
        missing=_names(run for run in asked if run not in finished),
        left_out=_names(run for run in scaled if run not in counted[run[0]]),
        unscaled=_names(run for run in asked if run in finished and run[1] not in references),
    )


def _names(runs: Iterable[_Run]) -> tuple[str, ...]:
    return tuple(f"{entry}/{game}/seed{seed}" for entry, game, seed in runs)


def _finished_curves(rows: Iterable[EvaluationRow]) -> dict[_Run, _Curve]:
    """Curves of the finished runs, from the end of their offline stage on."""
    runs: dict[_Run, list[EvaluationRow]] = {}
    for row in rows:
        runs.setdefault((row.entry, row.game, row.seed), []).append(row)
    return {
        # Of two evaluations after as many frames the later counts: that of the final weights.
        run: {row.frames: row for row in rows if row.offline_updates == rows[-1].offline_updates}
        for run, rows in runs.items()
        if rows[-1].final
    }


def _counted(entry: str, runs: Iterable[_Run]) -> list[_Run]:
    """The runs of an entry that count, game by game: the same number of each."""
    by_game: dict[str, list[_Run]] = {}
    for run in runs:
        if run[0] == entry:
            by_game.setdefault(run[1], []).append(run)
    fewest = min(map(len, by_game.values()), default=0)
    return [run for of_game in by_game.values() for run in of_game[:fewest]]


def _entry_scores(
    entry: str, curves: Mapping[_Run, _Curve], references: Mapping[str, ReferenceRow]
) -> EntryScores:
    games = tuple(dict.fromkeys(game for _, game, _ in curves))
    every = list(curves.values())
    frames = sorted(set.intersection(*(set(curve) for curve in every)))
    ends = sorted({max(curve) for curve in every})
    if len(ends) > 1:
        raise UserError(
            f"the runs of {entry} end after different numbers of frames ({ends}): they were made "
            "with different budgets, and cannot be put together"
        )
    by_game = np.array([[curve[at].mean_return for at in frames] for curve in every])
    returns = by_game.reshape(len(games), -1, len(frames)).swapaxes(0, 1)
    low, high = _scales([references[game] for game in games])
    return EntryScores(
        entry=entry,
        games=games,
        frames=np.array(frames, dtype=np.int64),
        returns=returns,
        scores=(returns - low) / (high - low),
        episodes=min(
            (row.episodes for curve in every for row in curve.values() if not row.final),
            default=None,
        ),
        final_episodes=min(curve[frames[-1]].episodes for curve in every),
        epsilon=every[0][frames[-1]].epsilon,
    )


def _scales(references: Iterable[ReferenceRow]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns of the random policy and of the teacher, each float64 [G, 1]."""
    for row in references:
        try:
            check_scale(row.random_return, row.teacher_return)
        except ValueError as error:
            raise UserError(f"{row.game}: {error}") from error
    returns = np.array([[row.random_return, row.teacher_return] for row in references])
    return returns[:, :1], returns[:, 1:]
