from __future__ import annotations

import socket
import time

import jax.numpy as jnp
import numpy as np
import pytest

from services.replay import priority_updates
from services.replay.priority_updates import PriorityUpdates, _Update, newest_priorities
from tests.support.patience import PATIENCE_SECONDS, wait_until

ALL = np.ones(3, bool)


def keys(*values: int) -> np.ndarray:
    return np.asarray(values, np.uint64)


def test_of_an_item_in_several_batches_the_last_priority_counts() -> None:
    updates = [
        _Update(keys(1, 2, 2**64 - 1), ALL, np.asarray([0.5, 1.0, 2.0], np.float32)),
        _Update(keys(2, 3, 3), ALL, jnp.asarray([4.0, 5.0, 6.0])),
    ]
    priorities = newest_priorities(updates)
    assert priorities == pytest.approx({1: 0.5, 2: 4.0, 2**64 - 1: 2.0, 3: 6.0})
    # Reverb's binding takes Python's own numbers.
    assert {type(key) for key in priorities} == {int}


def test_rows_that_are_not_wanted_or_no_number_are_left_out() -> None:
    wanted = np.asarray([True, False, True, True, True])
    losses = np.asarray([1.0, 2.0, np.nan, np.inf, 0.0], np.float32)
    priorities = newest_priorities([_Update(keys(1, 2, 3, 4, 5), wanted, losses)])
    assert set(priorities) == {1, 5}
    # A loss of 0 must not make an item undrawable.
    assert priorities[5] > 0


def test_a_server_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority_updates, "_CLOSE_SECONDS", 0.3)
    with socket.create_server(("localhost", 0)) as deaf:
        updates = PriorityUpdates(f"localhost:{deaf.getsockname()[1]}", "student")
        updates.put(keys(1, 2, 3), ALL, np.ones(3))
        # Taken, and being sent from now on.
        wait_until(lambda: not updates._waiting)
        started = time.monotonic()
        for _ in range(1000):
            updates.put(keys(1, 2, 3), ALL, np.ones(3))
        # The server answers none: one that waits would wait without end.
        assert time.monotonic() - started < PATIENCE_SECONDS / 2
        assert len(updates._waiting) == 64
        started = time.monotonic()
        updates.close()
        assert time.monotonic() - started < PATIENCE_SECONDS / 2
