"""A policy computed by ONNX Runtime on the CPU.

How the session is set up was measured with a Nature DQN on 2 cores:

- Threads that spin while they wait for work save a fifth of the time on an idle machine, and take
  three times as long as threads that sleep when anything else wants a core, as the threads of the
  RPC server do.
- One thread: 0.80 ms for one state, 0.25 to 0.27 ms per state in batches from 32 on. Two threads:
  0.59 and 0.14 to 0.16 ms while both cores are idle, no faster than one otherwise, and 5 to 20 %
  more CPU time per state. Two callers of a session of one thread get 15 % (idle) to 40 % (busy)
  more batches of 16 done than one caller of a session of two.
  So there are two sessions: one that shares a batch among the cores, for a small batch that is
  alone, and one of a thread per batch, for the others: many rows come as several batches.
- Binding inputs and outputs to memory of our own gains nothing over `run`, which adds 4 us.
"""

from __future__ import annotations

import os
import threading
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from rrl_agents.checkpoints.onnx_export import INPUT_NAME, OUTPUT_NAME, export_onnx
from rrl_agents.checkpoints.teacher_card import Teacher
from services.teacher.policy import PolicyInfo, info_of_card

_ONLY_ERRORS = 3
_MOST_CALLERS = 4
_ROWS_FOR_ONE_CORE = 16


class OnnxPolicy:
    """A teacher's network in an ONNX Runtime session.

    `evaluate` may be called from several threads; they compute side by side.
    """

    any_batch_size = True
    backend = "onnxruntime cpu"

    def __init__(
        self, teacher: Teacher, *, threads: int | None = None, callers: int | None = None
    ) -> None:
        """Export the network and prepare the session.

        Args:
            teacher: Parameters and card of the teacher.
            threads: Cores to use, at least 1; those this process may use when None.
            callers: Calls side by side to expect, at least 1; None for what gets the most done.

        Raises:
            ValueError: When threads or callers are not positive, or the parameters do not fit.
        """
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; give at least 1")
        if callers is not None and callers < 1:
            raise ValueError(f"callers is {callers}; give at least 1")
        card = teacher.card
        self._info = info_of_card(card)
        model = export_onnx(
            card.network,
            teacher.params,
            num_actions=card.num_actions,
            observation_shape=card.observation_shape,
            observation_dtype=card.observation_dtype,
        )
        cores = usable_cores() if threads is None else threads
        self.callers = min(cores, _MOST_CALLERS if callers is None else callers)
        self._alone = _session(model, cores)
        self._side_by_side = (
            self._alone if self.callers == 1 else _session(model, cores // self.callers)
        )
        self._running = 0
        self._lock = threading.Lock()

    @property
    def info(self) -> PolicyInfo:
        """What it takes and gives."""
        return self._info

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Action values float32 [B, A] of [B, *observation_shape]."""
        with self._lock:
            is_alone = not self._running and len(observations) < _ROWS_FOR_ONE_CORE
            session = self._alone if is_alone else self._side_by_side
            self._running += 1
        try:
            (values,) = session.run((OUTPUT_NAME,), {INPUT_NAME: observations})
        finally:
            with self._lock:
                self._running -= 1
        return cast("NDArray[np.float32]", values)


def usable_cores() -> int:
    """Cores this process may use: those it is bound to, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        model, _session_options(threads), providers=["CPUExecutionProvider"]
    )


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ONLY_ERRORS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Plans are kept per batch size, of which there may be hundreds here.
    options.enable_mem_pattern = False
    return options
