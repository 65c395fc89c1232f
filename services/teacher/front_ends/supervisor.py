"""The front-end processes of a service: started, watched, restarted when they die, stopped."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from services.shared.errors import UserError
from services.teacher.front_ends.process import FrontEndTask, run_front_end

_LOG = logging.getLogger(__name__)
_WATCH_SECONDS = 0.2
_RESTART_SECONDS = 1.0
_END_SECONDS = 5.0


class FrontEnds:
    """Several processes that share one port."""

    def __init__(self, task: FrontEndTask, count: int) -> None:
        """Start them.

        Args:
            task: What each is told.
            count: How many.
        """
        self._context = multiprocessing.get_context("spawn")
        self._task = task
        self._stopping = False
        self._is_given_up = False
        self._processes = [self._start() for _ in range(count)]
        self._serving = [False] * count
        self._watcher = threading.Thread(target=self._watch, name="front-ends", daemon=True)
        self._watcher.start()

    def wait_until_serving(self, timeout_seconds: float) -> None:
        """Block until all of them serve.

        Raises:
            UserError: They do not within `timeout_seconds`.
        """
        end = time.monotonic() + timeout_seconds
        while not all(self._serving) and not self._is_given_up:
            if time.monotonic() > end:
                raise UserError(
                    f"{self._serving.count(False)} front ends did not serve within "
                    f"{timeout_seconds:g} s; their log lines say why"
                )
            time.sleep(_WATCH_SECONDS / 4)

    def give_up(self) -> None:
        """End a wait for them to serve."""
        self._is_given_up = True

    def stop(self, grace_seconds: float) -> None:
        """Have them drain and end; those that do not in time are killed.

        Args:
            grace_seconds: How long queries under way may take, after the lame-duck time.
        """
        self._stopping = True
        self._watcher.join()
        for process, _ in self._processes:
            process.terminate()
        lame_duck = self._task.config.lame_duck_seconds
        end = time.monotonic() + lame_duck + grace_seconds + _END_SECONDS
        for process, connection in self._processes:
            process.join(max(end - time.monotonic(), 0.0))
            if process.is_alive():
                process.kill()
                process.join()
            connection.close()

    def _start(self) -> tuple[SpawnProcess, Connection]:
        here, there = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=run_front_end,
            args=(self._task, there),
            name="rrl-teacher-front-end",
            daemon=True,
        )
        process.start()
        there.close()
        return process, here

    def _watch(self) -> None:
        while not self._stopping:
            connections = [connection for _, connection in self._processes]
            readable = wait(connections, _WATCH_SECONDS)
            for index, connection in enumerate(connections):
                if connection in readable:
                    try:
                        self._serving[index] = connection.recv()
                    except EOFError:
                        self._restart(index)

    def _restart(self, index: int) -> None:
        process, connection = self._processes[index]
        connection.close()
        process.join(_END_SECONDS)
        self._serving[index] = False
        _LOG.error("front end %d ended with %s; starting it anew", index, process.exitcode)
        # One that ends at once must not keep the device process busy with starting it.
        time.sleep(_RESTART_SECONDS)
        if not self._stopping:
            self._processes[index] = self._start()
