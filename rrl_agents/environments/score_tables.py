"""Returns of the uniformly random policy, the zero of every normalised score: random_returns.csv.

Undiscounted sums of raw rewards per episode, mean over episodes. By environment:

- Atari's, of games in CamelCase, are the table that normalises scores in the code released with
  Agarwal et al., 2022 (arXiv:2206.01626).
- Those of MinAtar 1.0.15 and of Gymnasium 1.4.0's CartPole-v1 were measured under the protocols of
  `registry.ENVIRONMENTS`, in whole episodes: 64 environments were seeded with 2022 and up, and
  `play_episodes` of the evaluator played them with epsilon 1. `test_random_returns.py` measures
  again.
- The balloon's was measured on 28 flights, of the seeds 2022 to 2049 (flights of 15 s of CPU: its
  standard error is large).
- Catch's is exact, and that of one ball.
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
        mean: Of the episodes' returns.
        standard_error: Of that mean: standard deviation of the returns over the root of episodes; 0
            where it is not known.
        longest_episode: Decisions of the longest episode measured here; 0 where none was.
    """

    mean: float
    standard_error: float
    longest_episode: int


@functools.cache
def random_returns(environment: str) -> Mapping[str, RandomReturn]:
    """What is known of an environment, by game; "" where it is one game."""
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
