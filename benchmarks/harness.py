"""Shared by all benchmarks: flags, sizes, the time limit, and the ratios at the end."""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from benchmarks.limits import end_within

Round = Mapping[str, float]
"""Measurements of one round by name."""

Size = Literal["full", "quick", "smallest"]

_LIMIT_SECONDS: Mapping[Size, float] = {"full": 7200.0, "quick": 1200.0, "smallest": 900.0}

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """What every benchmark takes.

    Attributes:
        size: How much is measured: "quick" takes minutes at most, "smallest" seconds; their
            numbers are noisier, those of "smallest" mean nothing.
        json: End with one JSON object, whose `ratios` are by name.
    """

    size: Size
    json: bool

    def pick(self, *, full: _T, quick: _T, smallest: _T) -> _T:
        """The setting for this size."""
        return {"full": full, "quick": quick, "smallest": smallest}[self.size]


def make_parser(docstring: str | None) -> argparse.ArgumentParser:
    """The flags of every benchmark; the docstring's first line is the help."""
    parser = argparse.ArgumentParser(description=docstring.splitlines()[0] if docstring else None)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="run minutes at most; noisier")
    size.add_argument("--smallest", action="store_true", help="run seconds, only as a check")
    parser.add_argument(
        "--json", action="store_true", help="print the ratios as one JSON object at the end"
    )
    parser.add_argument(
        "--limit-seconds",
        type=float,
        help="stop with an error after this many seconds; by default "
        + ", ".join(f"{seconds:g} ({size})" for size, seconds in _LIMIT_SECONDS.items()),
    )
    return parser


def read_flags(parser: argparse.ArgumentParser) -> tuple[Flags, argparse.Namespace]:
    """Read the command line and set the time limit.

    Args:
        parser: From `make_parser`, with the benchmark's own flags added.

    Returns:
        The flags of every benchmark, and all that was read.
    """
    given = parser.parse_args()
    size: Size = "smallest" if given.smallest else "quick" if given.quick else "full"
    limit = _LIMIT_SECONDS[size] if given.limit_seconds is None else given.limit_seconds
    if not limit > 0:
        parser.error(f"--limit-seconds is {limit:g}; it must be above 0")
    end_within(limit)
    return Flags(size=size, json=given.json), given


def parse_flags(docstring: str | None) -> Flags:
    """Read the command line of a benchmark without flags of its own, and set the time limit."""
    return read_flags(make_parser(docstring))[0]


def print_outcome(
    rounds: Sequence[Round], ratios: Mapping[str, tuple[str, str]], flags: Flags
) -> None:
    """Print medians, every round, and the ratios.

    Args:
        rounds: What was measured; rounds meet the machine as it is at their time.
        ratios: Name -> numerator and denominator, both names of a round's measurements.
        flags: Whether JSON is wanted.
    """
    for name in rounds[0]:
        values = [measured[name] for measured in rounds]
        print(f"{name:<36} {statistics.median(values):10.3f}   {np.round(values, 3).tolist()}")
    # Within a round, as its numbers met the same machine.
    medians = {
        name: statistics.median(measured[over] / measured[under] for measured in rounds)
        for name, (over, under) in ratios.items()
    }
    print_ratios(
        medians,
        flags,
        medians={name: statistics.median(found[name] for found in rounds) for name in rounds[0]},
    )


def print_ratios(ratios: Mapping[str, float], flags: Flags, **details: Any) -> None:
    """Print the ratios, the last that every benchmark does.

    Args:
        ratios: By name.
        flags: Whether JSON is wanted.
        **details: What else the JSON object is to hold.
    """
    print("\nratios")
    for name, ratio in ratios.items():
        print(f"{name:<52} {ratio:10.3f}")
    if flags.json:
        rounded = {name: round(ratio, 4) for name, ratio in ratios.items()}
        print(json.dumps({"ratios": rounded, **details}))
