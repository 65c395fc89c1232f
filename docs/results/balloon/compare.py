"""Compare methods flight by flight: TWR50 and return, beside the teacher's and a baseline's.

    python docs/results/balloon/compare.py docs/results/balloon/results --baseline tabula_rasa

All players fly the same evaluation flights, so differences are taken flight by flight. Intervals
are 95% bootstraps: flights are drawn for all players together, each entry's runs on their own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RESAMPLES = 10_000
TEACHER = "teacher"


def main() -> None:
    """Read the rows of a suite's report and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="the `results` folder of a suite")
    parser.add_argument("--baseline", default="tabula_rasa", help="entry to subtract")
    given = parser.parse_args()
    rows = pd.read_csv(given.results / "judged_episodes.csv")
    for metric, found in rows.groupby("metric", sort=False):
        values = {
            str(entry): of_entry.pivot(index="seed", columns="episode", values="value").to_numpy()
            for entry, of_entry in found.groupby("entry", sort=False)
        }
        means = {
            entry: resampled_means(of_entry, seed)
            for seed, (entry, of_entry) in enumerate(values.items())
        }
        teacher, baseline = means[TEACHER], means[given.baseline]
        print(f"{metric}: teacher {values[TEACHER].mean():.3f}")
        for entry in (entry for entry in values if entry != TEACHER):
            print(f"  {entry:<12} {interval(means[entry], values[entry].mean())}", end="")
            of_teacher = values[entry].mean() / values[TEACHER].mean()
            print(f"  of the teacher's {interval(means[entry] / teacher, of_teacher)}", end="")
            above = values[entry].mean() - values[given.baseline].mean()
            print(f"  over {given.baseline} {interval(means[entry] - baseline, above)}")


def resampled_means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means [RESAMPLES] of runs x flights drawn with replacement: the same flights for any seed."""
    runs, flights = values.shape
    flights_drawn = np.random.default_rng(0).integers(flights, size=(RESAMPLES, 1, flights))
    runs_drawn = np.random.default_rng(1 + seed).integers(runs, size=(RESAMPLES, runs, 1))
    drawn: NDArray[np.float64] = values[runs_drawn, flights_drawn].mean(axis=(1, 2))
    return drawn


def interval(resampled: NDArray[np.float64], point: float) -> str:
    """A point with the interval around it."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return f"{point:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
