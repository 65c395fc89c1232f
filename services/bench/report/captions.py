"""What every figure says of itself: how much play is behind it, and what its intervals are."""

from __future__ import annotations

from collections.abc import Iterable

from services.bench.report.aggregates import Aggregates


def play_behind(aggregates: Aggregates) -> str:
    """Games, repetitions, episodes and exploration, in one sentence."""
    scores = [entry.scores for entry in aggregates.entries]
    games = _range(len(one.games) for one in scores)
    seeds = _range(one.repetitions for one in scores)
    during = [one.episodes for one in scores if one.episodes is not None]
    final = _range(one.final_episodes for one in scores)
    point = f"{_range(during)} per point, {final} of the final weights" if during else final
    epsilon = " and ".join(f"{value:g}" for value in sorted({one.epsilon for one in scores}))
    return (
        f"{games} {_plural('game', games)} x {seeds} {_plural('seed', seeds)}; evaluation in "
        f"environments and with seeds of its own, epsilon {epsilon}, episodes: {point}."
    )


def interval_over_runs(aggregates: Aggregates) -> str:
    """What the intervals of aggregates over all games are."""
    return _interval(aggregates, "95% stratified bootstrap intervals over runs")


def interval_over_seeds(aggregates: Aggregates) -> str:
    """What the intervals of one game are."""
    return _interval(aggregates, "95% bootstrap intervals of the mean over seeds")


def _interval(aggregates: Aggregates, what: str) -> str:
    if not any(entry.has_intervals for entry in aggregates.entries):
        return "One run of each: there are no intervals."
    some_alone = not all(entry.has_intervals for entry in aggregates.entries)
    alone = "; none where there is one run" if some_alone else ""
    return f"Intervals: {what} ({aggregates.resamples:,} resamples{alone})."


def _range(counts: Iterable[int]) -> str:
    values = sorted(set(counts))
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _plural(noun: str, count: str) -> str:
    return noun if count == "1" else f"{noun}s"
