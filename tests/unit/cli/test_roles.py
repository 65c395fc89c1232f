"""What single roles refuse before they begin."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest

from services.cli.roles import actor_main
from services.shared.errors import UserError


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Signals and the log are the process's own."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    root, ours = logging.getLogger(), logging.getLogger("services")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_an_actor_that_is_not_told_of_all_replay_shards_is_refused() -> None:
    # It would write to another shard than the one that is its.
    with pytest.raises(UserError, match="1 replay addresses are given, the run has 2"):
        actor_main(
            [
                *("tabula_rasa", "--environment.name", "catch", "--network.name", "mlp"),
                *("--teacher.checkpoint", "None", "--teacher.mean-return", "1"),
                *("--num-actors", "2", "--replay-shards", "2"),
                *("--learner-address", "localhost:1", "--replay-address", "localhost:2"),
            ]
        )
