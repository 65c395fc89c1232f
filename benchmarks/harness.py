"""What the benchmarks of learner and actor share: flags, services as processes, the printed end."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from services.learner.config import ShardAddress

Round = Mapping[str, float]
"""Measurements of one round by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """What every benchmark can be told.

    Attributes:
        quick: Take under a minute; noisier.
        json: End with one JSON object of ratios.
    """

    quick: bool
    json: bool


def parse_flags(docstring: str | None) -> Flags:
    """Read the command line; the docstring's first line is the help."""
    parser = argparse.ArgumentParser(description=docstring.splitlines()[0] if docstring else None)
    parser.add_argument("--quick", action="store_true", help="under a minute, noisier")
    parser.add_argument("--json", action="store_true", help="end with one JSON object of ratios")
    parsed = parser.parse_args()
    return Flags(quick=parsed.quick, json=parsed.json)


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
        name: round(statistics.median(measured[over] / measured[under] for measured in rounds), 4)
        for name, (over, under) in ratios.items()
    }
    for name, ratio in medians.items():
        print(f"{name:<36} {ratio:10.3f}")
    if flags.json:
        print(json.dumps(medians))


@contextlib.contextmanager
def teacher_service(checkpoint: str) -> Iterator[str]:
    """A teacher service in a process of its own; gives its address."""
    arguments = ("teacher", "serve", "--checkpoint", checkpoint, "--port", "0")
    with _service(*arguments, "--metrics-port", "None", ready=r"ready at (\S+):\s") as (address,):
        yield address


@contextlib.contextmanager
def replay_service(run: Path, *experiment: str) -> Iterator[ShardAddress]:
    """A replay server in a process of its own; gives its addresses.

    Args:
        run: Run directory, made when absent.
        experiment: Method and flags, as `rrl replay` takes them.
    """
    arguments = ("replay", *experiment, "--run", str(run), "--port", "0", "--control-port", "0")
    with _service(*arguments, ready=r"ready at port (\d+), control at port (\d+)") as ports:
        data, control = ports
        yield ShardAddress(data=f"localhost:{data}", control=f"localhost:{control}")


@contextlib.contextmanager
def _service(*arguments: str, ready: str) -> Iterator[tuple[str, ...]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(ready, process.stdout.readline())
        if found is None:
            raise RuntimeError(f"`rrl {arguments[0]}` did not start; its log is above")
        yield found.groups()
    finally:
        process.terminate()
        process.wait(30)
