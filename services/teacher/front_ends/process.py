"""One front-end process: reads and writes gRPC for the device process, and computes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection

from prometheus_client import CollectorRegistry

from rrl_client.loop_thread import LoopThread
from services.shared.allocator import keep_large_buffers
from services.shared.logging import setup_logging
from services.teacher.config import TeacherConfig
from services.teacher.front_ends.remote_engine import RemoteEngine
from services.teacher.metrics import TeacherMetrics
from services.teacher.rpc.grpc_server import GrpcServer

_WATCH_SECONDS = 0.05
_CLOSING_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontEndTask:
    """What a front-end process is told.

    Attributes:
        config: Of the service.
        addresses: Where to listen; the TCP port is shared by all front ends.
        device_address: gRPC target of the device process.
        max_message_bytes: Largest message that is read.
    """

    config: TeacherConfig
    addresses: tuple[str, ...]
    device_address: str
    max_message_bytes: int


class _Stop:
    """Set by a signal; plain, because a handler may interrupt whoever waits on an event's lock."""

    asked = False

    def __call__(self, *_: object) -> None:
        self.asked = True


def run_front_end(task: FrontEndTask, tell: Connection) -> None:
    """Serve until SIGTERM, or until the device process is gone.

    Args:
        task: What to do.
        tell: Gets True when it serves, and False when it does not any more.
    """
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    # Ctrl-C and the end of a terminal reach the whole group; the device process says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    device_process = multiprocessing.parent_process()
    assert device_process is not None, "a front end is started by a device process"
    setup_logging("teacher front end")
    keep_large_buffers()
    loop = LoopThread("teacher-grpc")
    engine = loop.run(_engine(task))
    server = GrpcServer(
        task.config,
        engine,
        TeacherMetrics(CollectorRegistry()),
        loop,
        max_message_bytes=task.max_message_bytes,
    )
    server.start(task.addresses, task.config.security, share_port=True)
    following = loop.start(engine.follow())
    serving = False
    # Not its id of now: it may have died while this process started.
    while not stop.asked and os.getppid() == device_process.pid:
        if engine.is_serving != serving:
            serving = engine.is_serving
            server.set_serving(serving)
            # Nobody there any more: the next look says so.
            with contextlib.suppress(BrokenPipeError):
                tell.send(serving)
        time.sleep(_WATCH_SECONDS)
    server.set_serving(False, still_answers=True)
    if serving and stop.asked:
        time.sleep(task.config.lame_duck_seconds)
    engine.refuse()
    # The device process kills those that take longer than its own grace; without one there are no
    # answers to wait for, only clients that do not read their refusals.
    server.stop(task.config.batching.longest_wait_seconds if stop.asked else _CLOSING_SECONDS)
    following.cancel()
    loop.run(engine.close())
    loop.close()


async def _engine(task: FrontEndTask) -> RemoteEngine:
    return RemoteEngine(task.device_address, task.config.batching.max_queue_rows)
