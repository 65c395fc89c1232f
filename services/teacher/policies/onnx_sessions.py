"""ONNX Runtime on the CPU: one model, called from several threads.

The setup of the sessions follows measurements with a Nature DQN on 2 cores:

- Spinning threads save a fifth of the time on an idle machine, but take three times as long as
  sleeping threads when anything else needs a core, such as the RPC server.
- One thread: 0.80 ms for one state, 0.25 to 0.27 ms per state in batches from 32 on. Two threads:
  0.59 and 0.14 to 0.16 ms while both cores are idle, no faster than one otherwise, and 5 to 20 %
  more CPU time per state. Two callers of single-threaded sessions complete 15 % (idle) to 40 %
  (busy) more batches of 16 than one caller of a session with two threads. So there are two
  sessions: one shares a batch among the cores, for a small batch alone, and one uses a thread per
  batch, for the others: many rows come as several batches.
- Binding inputs and outputs to our own memory gains nothing over `run`, which adds 4 us.
"""

from __future__ import annotations

import os
import threading
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from rrl_agents.checkpoints.onnx_policy_file import (
    fixed_rows,
    observations_and_scores,
    open_session,
)

_MOST_CONCURRENT = 4
_ROWS_FOR_ONE_CORE = 16


class OnnxSessions:
    """Sessions of one model; `run` may be called from several threads, which compute in parallel.

    Attributes:
        max_concurrency: Number of parallel calls with the highest throughput.
        fixed_rows: Rows of every batch, None for any.
    """

    def __init__(
        self, encoded: bytes, *, threads: int | None = None, max_concurrency: int | None = None
    ) -> None:
        """Prepare the sessions.

        Args:
            encoded: The `ModelProto`.
            threads: Cores to use, at least 1; None for all that this process may use.
            max_concurrency: Parallel calls to expect, at least 1; None for the highest throughput.

        Raises:
            ValueError: ONNX Runtime cannot compute the model, or it is not a policy.
        """
        cores = usable_cores() if threads is None else threads
        self.max_concurrency = min(
            cores, _MOST_CONCURRENT if max_concurrency is None else max_concurrency
        )
        self._alone = open_session(encoded, _options(cores))
        observations, _ = observations_and_scores(self._alone)
        self._input, self.fixed_rows = observations.name, fixed_rows(observations)
        self._side_by_side = (
            self._alone
            if self.max_concurrency == 1
            else open_session(encoded, _options(cores // self.max_concurrency))
        )
        self._running = 0
        self._lock = threading.Lock()

    def run(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of a batch [B, ...]."""
        with self._lock:
            is_alone = not self._running and len(observations) < _ROWS_FOR_ONE_CORE
            session = self._alone if is_alone else self._side_by_side
            self._running += 1
        try:
            (scores,) = session.run(None, {self._input: observations})
        finally:
            with self._lock:
                self._running -= 1
        return cast("NDArray[np.float32]", scores)


def usable_cores() -> int:
    """The number of cores this process may use, by its affinity if known."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Plans are kept per batch size, of which there may be hundreds here.
    options.enable_mem_pattern = False
    return options
