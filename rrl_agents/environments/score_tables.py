"""Returns of the uniformly random policy, the zero of every normalised score: random_returns.csv.

Undiscounted sums of raw rewards per episode, mean over episodes. By environment:

- Atari's, with games in CamelCase, are the table that normalises scores in the code released with
  Agarwal et al., 2022 (arXiv:2206.01626).
- Those of MinAtar 1.0.15 and of Gymnasium 1.4.0's CartPole-v1 were measured under the protocols of
  `registry.ENVIRONMENTS`, in whole episodes: 64 environments were seeded with 2022 and up, and
  `play_episodes` of the evaluator played them with epsilon 1. `test_random_returns.py` repeats the
  measurement.
- The balloon's was measured on 28 flights, with seeds 2022 to 2049 (a flight takes 15 s of CPU: the
  standard error is large).
- Catch's is exact, for one ball.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class RandomReturn(NamedTuple):
    """One row of the table.

    Attributes:
        mean: Mean of the episodes' returns.
        standard_error: Standard error of that mean: standard deviation of the returns over the root
            of the number of episodes; 0 if unknown.
        longest_episode: Decisions in the longest episode measured; 0 if none was measured.
    """

    mean: float
    standard_error: float
    longest_episode: int


@functools.cache
def random_returns(environment: str) -> Mapping[str, RandomReturn]:
    """The known random returns of an environment, by game; "" for an environment with one game."""
    text = Path(__file__).with_name("random_returns.csv").read_text()
    return {
        row["game"]: RandomReturn(
            mean=float(row["mean"]),
            standard_error=float(row["standard_error"] or 0),
            longest_episode=int(row["longest_episode"] or 0),
        )
        for row in csv.DictReader(text.splitlines())
        if row["environment"] == environment
    }
