"""From rows to arrays: the returns of a suite, arranged by entry, repetition, game and frames.

Only whole runs count, and rliable wants as many repetitions of every game: where some are missing,
an entry has the games that it has any run of, and as many repetitions as the game with the fewest.
What is left out is named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rrl_agents.scores import normalised_score
from services.bench.results import EvaluationRow, ReferenceRow, Results
from services.bench.suite import Suite
from services.shared.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntryScores:
    """The whole runs of one entry.

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
    """All entries that have whole runs.

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
        UserError: no run is finished and has a reference, or a teacher is no better than the random
            policy.
    """
    references = {row.game: row for row in results.references}
    runs = _whole_runs(results.evaluations)
    entries: list[EntryScores] = []
    counted: set[tuple[str, str, int]] = set()
    for entry in suite.entries:
        chosen = _chosen(entry.name, suite, runs, references)
        if chosen:
            counted |= {
                (entry.name, game, seed) for game, seeds in chosen.items() for seed in seeds
            }
            entries.append(_entry_scores(entry.name, chosen, runs, references))
    if not entries:
        raise UserError(
            "no game with finished runs has a reference: its teacher is gone, or nobody scored it"
            if runs
            else "no run of this suite is finished yet; rrl bench run goes on with it"
        )
    asked = [
        (entry.name, game, seed)
        for entry in suite.entries
        for game in suite.games
        for seed in suite.seeds
    ]
    return SuiteScores(
        entries=tuple(entries),
        references=references,
        missing=tuple(_name(key) for key in asked if key not in runs),
        left_out=tuple(
            _name(key)
            for key in asked
            if key in runs and key not in counted and key[1] in references
        ),
        unscaled=tuple(_name(key) for key in asked if key in runs and key[1] not in references),
    )


def _name(run: tuple[str, str, int]) -> str:
    entry, game, seed = run
    return f"{entry}/{game}/seed{seed}"


_Runs = Mapping[tuple[str, str, int], Sequence[EvaluationRow]]


def _whole_runs(rows: Sequence[EvaluationRow]) -> _Runs:
    """(entry, game, seed) -> its evaluations from the end of its offline stage on."""
    runs: dict[tuple[str, str, int], list[EvaluationRow]] = {}
    for row in rows:
        runs.setdefault((row.entry, row.game, row.seed), []).append(row)
    return {
        key: [row for row in run if row.offline_updates == run[-1].offline_updates]
        for key, run in runs.items()
        if run[-1].final
    }


def _chosen(
    entry: str, suite: Suite, runs: _Runs, references: Mapping[str, ReferenceRow]
) -> dict[str, list[int]]:
    """Game -> seeds of the runs that count: alike many of each game."""
    there = {
        game: [seed for seed in suite.seeds if (entry, game, seed) in runs]
        for game in suite.games
        if game in references
    }
    there = {game: seeds for game, seeds in there.items() if seeds}
    fewest = min(map(len, there.values()), default=0)
    return {game: seeds[:fewest] for game, seeds in there.items()}


def _entry_scores(
    entry: str,
    chosen: Mapping[str, Sequence[int]],
    runs: _Runs,
    references: Mapping[str, ReferenceRow],
) -> EntryScores:
    games = tuple(chosen)
    # Of two evaluations after as many frames the later counts: that of the final weights.
    curves = {
        game: [{row.frames: row for row in runs[entry, game, seed]} for seed in seeds]
        for game, seeds in chosen.items()
    }
    every = [curve for of_game in curves.values() for curve in of_game]
    frames = sorted(set.intersection(*(set(curve) for curve in every)))
    _check_ends_together(entry, every, frames)
    returns = np.array(
        [
            [[curves[game][index][at].mean_return for at in frames] for game in games]
            for index in range(len(curves[games[0]]))
        ]
    )
    low = np.array([references[game].random_return for game in games])
    high = np.array([references[game].teacher_return for game in games])
    scores = np.stack(
        [
            _normalised(returns[:, index], game, low[index], high[index])
            for index, game in enumerate(games)
        ],
        axis=1,
    )
    earlier = [row.episodes for curve in every for row in curve.values() if not row.final]
    final = [curve[frames[-1]] for curve in every]
    return EntryScores(
        entry=entry,
        games=games,
        frames=np.array(frames, dtype=np.int64),
        returns=returns,
        scores=scores,
        episodes=min(earlier, default=None),
        final_episodes=min(row.episodes for row in final),
        epsilon=final[0].epsilon,
    )


def _normalised(
    returns: NDArray[np.float64], game: str, random_return: float, teacher_return: float
) -> NDArray[np.float64]:
    try:
        normalise = np.vectorize(normalised_score, otypes=[np.float64])
        scores: NDArray[np.float64] = normalise(returns, random_return, teacher_return)
    except ValueError as error:
        raise UserError(f"{game}: {error}") from error
    return scores


def _check_ends_together(
    entry: str, curves: Sequence[Mapping[int, EvaluationRow]], frames: Sequence[int]
) -> None:
    ends = sorted({max(curve) for curve in curves})
    if len(ends) > 1 or not frames or frames[-1] != ends[0]:
        raise UserError(
            f"the runs of {entry} end after different numbers of frames ({ends}): they were made "
            "with different budgets, and cannot be put together"
        )
