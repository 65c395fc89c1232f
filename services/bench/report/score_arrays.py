"""From rows to arrays: the returns of a suite, arranged by entry, repetition, game and frames.

Only finished runs count, and rliable needs the same number of repetitions of every game: where runs
are missing, an entry has the games that it has any run of, and as many repetitions as the game with
the fewest. What is left out is named.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rrl_agents.scores import check_scale
from services.bench.results import EvaluationRow, ReferenceRow, Results, SessionRow
from services.bench.suite import Suite
from services.shared.errors import UserError, user_errors

_Run: TypeAlias = tuple[str, str, int]
"""Entry, game and seed."""

_Curve: TypeAlias = Mapping[int, EvaluationRow]
"""Frames -> the evaluation after them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntryScores:
    """The finished runs of one entry.

    Attributes:
        entry: Name of the entry.
        games: Its G games, in the order of the suite.
        frames: int64 [P], environment frames of online play at the P points that all runs of the
            entry have, ascending; the last is that of the final weights.
        returns: float64 [R, G, P], mean returns of R repetitions.
        scores: float64 [R, G, P], the same, teacher-normalised.
        facts: Numbers for captions: games; seeds (runs of each game); episodes (fewest of an
            evaluation during the runs; None if there is only the last one); final_episodes
            (fewest); epsilon; and at the end of the runs frames, and offline_updates and
            online_updates (most).
    """

    entry: str
    games: tuple[str, ...]
    frames: NDArray[np.int64]
    returns: NDArray[np.float64]
    scores: NDArray[np.float64]
    facts: Mapping[str, Any]

    @property
    def final(self) -> NDArray[np.float64]:
        """float64 [R, G], scores of the final weights."""
        return self.scores[:, :, -1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteScores:
    """All entries that have finished runs.

    Attributes:
        entries: In the order of the suite.
        references: Game -> the scale of its scores.
        missing: Names of runs that are not finished.
        left_out: Names of finished runs that are not counted, since other games have fewer.
        unscaled: Names of finished runs that are not counted, since their game has no reference.
        sessions: How the runs were made.
    """

    entries: tuple[EntryScores, ...]
    references: Mapping[str, ReferenceRow]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    unscaled: tuple[str, ...]
    sessions: tuple[SessionRow, ...] = ()


def arrange(suite: Suite, results: Results) -> SuiteScores:
    """Arrange a suite's rows.

    Args:
        suite: The suite.
        results: Results of its runs so far.

    Raises:
        UserError: no run is finished and has a reference, a teacher is no better than the random
            policy, or the runs of an entry have different budgets.
    """
    references = {row.game: row for row in results.references}
    curves = _finished_curves(results.evaluations)
    asked = [*itertools.product(suite.entries, suite.games, suite.seeds)]
    finished = [run for run in asked if run in curves]
    scaled = [run for run in finished if run[1] in references]
    if not scaled:
        raise UserError(
            "no game with finished runs has a teacher with a score: let the suite finish its "
            "teachers' runs, or name teachers whose cards have a score"
            if finished
            else "no run of this suite is finished yet; rrl bench run resumes it"
        )
    entries: list[EntryScores] = []
    counted: set[_Run] = set()
    for entry, runs in itertools.groupby(scaled, key=itemgetter(0)):
        by_game = [[*of_game] for _, of_game in itertools.groupby(runs, key=itemgetter(1))]
        # zip ends with the game that has the fewest runs.
        repetitions = [*zip(*by_game, strict=False)]
        entries.append(_entry_scores(entry, repetitions, curves, references))
        counted.update(*repetitions)
    return SuiteScores(
        entries=tuple(entries),
        references=references,
        missing=_names(asked, without=finished),
        left_out=_names(scaled, without=counted),
        unscaled=_names(finished, without=scaled),
        sessions=results.sessions,
    )


def _names(runs: Iterable[_Run], *, without: Collection[_Run]) -> tuple[str, ...]:
    return tuple("{}/{}/seed{}".format(*run) for run in runs if run not in without)


def _finished_curves(rows: Iterable[EvaluationRow]) -> dict[_Run, _Curve]:
    """Curves of the finished runs, from the end of their offline stage."""
    runs: dict[_Run, list[EvaluationRow]] = {}
    for row in rows:
        runs.setdefault((row.entry, row.game, row.seed), []).append(row)
    return {
        # Of two evaluations at the same frames the later counts: that of the final weights.
        run: {row.frames: row for row in rows if row.offline_updates == rows[-1].offline_updates}
        for run, rows in runs.items()
        if rows[-1].final
    }


def _entry_scores(
    entry: str,
    repetitions: Sequence[Sequence[_Run]],
    curves: Mapping[_Run, _Curve],
    references: Mapping[str, ReferenceRow],
) -> EntryScores:
    every = [curves[run] for repetition in repetitions for run in repetition]
    frames = sorted(set.intersection(*map(set, every)))
    ends = sorted({max(curve) for curve in every})
    if len(ends) > 1:
        raise UserError(
            f"the runs of {entry} end after different numbers of frames ({ends}), because they "
            "were made with different budgets; run them again with one budget"
        )
    by_run = np.array([[curve[at].mean_return for at in frames] for curve in every])
    returns = by_run.reshape(len(repetitions), -1, len(frames))
    games = tuple(game for _, game, _ in repetitions[0])
    low, high = np.array([_scale(references[game]) for game in games]).T[..., np.newaxis]
    last = [curve[ends[0]] for curve in every]
    during = [row.episodes for curve in every for row in curve.values() if not row.final]
    return EntryScores(
        entry=entry,
        games=games,
        frames=np.array(frames, dtype=np.int64),
        returns=returns,
        scores=(returns - low) / (high - low),
        facts={
            "games": len(games),
            "seeds": len(repetitions),
            "episodes": min(during, default=None),
            "final_episodes": min(row.episodes for row in last),
            "epsilon": last[0].epsilon,
            "frames": ends[0],
            "offline_updates": max(row.offline_updates for row in last),
            "online_updates": max(row.online_updates for row in last),
        },
    )


def _scale(reference: ReferenceRow) -> tuple[float, float]:
    """Returns of the random policy and of the teacher."""
    with user_errors(prefix=f"{reference.game}: "):
        check_scale(reference.random_return, reference.teacher_return)
    return reference.random_return, reference.teacher_return
