"""The teacher service as a process-independent object: build, start, wait, stop.

    policy ──▶ TeacherServer ── gRPC: rrl.teacher.v1.Teacher, health, reflection
                    └────────── HTTP: Prometheus metrics

Life: `start` binds the port and returns; health says NOT_SERVING while every batch size is compiled
and timed, then SERVING; `stop` says NOT_SERVING again, refuses what is new with UNAVAILABLE,
answers what is queued, and closes. gRPC's event loop runs in a thread of its own, the policy in
another, so the object works in a main program as well as in somebody else's process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from protos.rrl.teacher.v1 import teacher_pb2, teacher_pb2_grpc
from services.shared.addresses import check_port_is_free, format_address
from services.shared.errors import UserError
from services.shared.health import AsyncHealth
from services.shared.metrics import MetricsServer
from services.teacher.batcher import Batcher, Stopped
from services.teacher.buckets import BucketPlan
from services.teacher.codec import TeacherDescription
from services.teacher.config import TeacherConfig
from services.teacher.metrics import TeacherMetrics
from services.teacher.policy import Policy, load_policy, warm_up
from services.teacher.servicer import TeacherServicer

SERVICE_NAME = teacher_pb2.DESCRIPTOR.services_by_name["Teacher"].full_name

_LOG = logging.getLogger(__name__)
_GRPC_GRACE_SECONDS = 0.5
_MESSAGE_OVERHEAD_BYTES = 64 * 1024
# A request with somewhat too many rows is still read, to answer INVALID_ARGUMENT with the limit;
# beyond this gRPC itself refuses the message, unread, with RESOURCE_EXHAUSTED.
_READABLE_EXCESS = 4

_Result = TypeVar("_Result")


class TeacherServer:
    """One policy behind a gRPC port."""

    def __init__(self, config: TeacherConfig, policy: Policy) -> None:
        """Prepare; nothing listens yet.

        Args:
            config: Ports and limits.
            policy: What is served.
        """
        info = policy.info
        self._config = config
        self._policy = policy
        self._description = TeacherDescription(
            game=info.game,
            name=info.name,
            num_actions=info.num_actions,
            observation_shape=info.observation_shape,
            observation_dtype=info.observation_dtype,
            teacher_version=info.version,
            max_batch_rows=config.batching.max_batch_rows,
            action_meanings=info.action_meanings,
        )
        self._registry = CollectorRegistry()
        self._metrics = TeacherMetrics(self._registry)
        self._metrics_server: MetricsServer | None = None
        self._loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(
            target=self._loop.run_forever, name="teacher-grpc", daemon=True
        )
        self._warm_up_thread = threading.Thread(
            target=self._warm_up, name="teacher-warm-up", daemon=True
        )
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._stopping = threading.Lock()
        self._stopped = threading.Event()
        self._batcher: Batcher | None = None
        self._server: grpc.aio.Server
        self._health: AsyncHealth
        self._servicer: TeacherServicer
        self._port = 0

    @property
    def description(self) -> TeacherDescription:
        """What is served."""
        return self._description

    @property
    def address(self) -> str:
        """The "host:port" listened on, after `start`."""
        return format_address(self._config.host, self._port)

    @property
    def metrics_port(self) -> int | None:
        """TCP port of the metrics page after `start`; None when there is none."""
        return None if self._metrics_server is None else self._metrics_server.port

    def start(self) -> int:
        """Bind the ports, answer NOT_SERVING, and begin to warm up on another thread.

        Returns:
            The TCP port of the service.

        Raises:
            UserError: A port is taken or the host is not ours; then nothing is left running.
        """
        config = self._config
        try:
            check_port_is_free(config.host, config.port, purpose="the teacher", flag="--port")
            if config.metrics_port is not None:
                self._metrics_server = MetricsServer(
                    self._registry, host=config.host, port=config.metrics_port
                )
            self._loop_thread.start()
            self._port = self._in_loop(self._start_grpc())
        except UserError:
            self.stop(0.0)
            raise
        self._warm_up_thread.start()
        return self._port

    def wait_until_ready(self, timeout_seconds: float | None = None) -> None:
        """Block until warmed up and SERVING.

        Raises:
            TimeoutError: It took longer.
            Stopped: `stop` came first.
            Exception: What the policy raised while warming up.
        """
        try:
            self._ready.result(timeout_seconds)
        except concurrent.futures.CancelledError as error:
            raise Stopped("the teacher was stopped while it warmed up") from error
        except concurrent.futures.TimeoutError as error:
            raise TimeoutError(
                f"the teacher was not warm within {timeout_seconds} s; give it more time, or "
                "fewer buckets"
            ) from error

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Block until stopped; False when the time ran out first."""
        return self._stopped.wait(timeout_seconds)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Drain and close; a second call waits for the first.

        Args:
            grace_seconds: How long queued requests may take to be answered.
        """
        with self._stopping:
            if self._stopped.is_set():
                return
            self._ready.cancel()
            if self._warm_up_thread.is_alive():
                self._warm_up_thread.join()
            if self._port:
                self._in_loop(self._stop_grpc(grace_seconds))
            if self._batcher is not None:
                self._batcher.close(0.0)
            if self._loop_thread.is_alive():
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop_thread.join()
            self._loop.close()
            if self._metrics_server is not None:
                self._metrics_server.close()
            self._stopped.set()

    def _in_loop(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _start_grpc(self) -> int:
        batching = self._config.batching
        self._server = grpc.aio.server(
            options=_server_options(self._description),
            # Every waiting request has at least one row; some room for health and reflection.
            maximum_concurrent_rpcs=2 * batching.max_queue_rows + 64,
        )
        self._servicer = TeacherServicer(
            self._description, self._metrics, batching.longest_wait_seconds
        )
        teacher_pb2_grpc.add_TeacherServicer_to_server(
            self._servicer,
            self._server,  # type: ignore[arg-type]
        )
        self._health = AsyncHealth(self._server, [SERVICE_NAME])
        await self._health.set_serving(False)
        names = (SERVICE_NAME, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        address = format_address(self._config.host, self._config.port)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise UserError(f"the teacher cannot listen on {address}; choose another") from error
        await self._server.start()
        return port

    def _warm_up(self) -> None:
        # A stop in the middle ends the warm-up after the batch size it is at.
        buckets = itertools.takewhile(
            lambda _: not self._ready.cancelled(), self._config.batching.buckets
        )
        try:
            seconds_by_bucket = warm_up(self._policy, buckets)
            if not self._ready.set_running_or_notify_cancel():
                return
            self._in_loop(self._begin_serving(BucketPlan(seconds_by_bucket)))
        except Exception as error:
            _LOG.error("warming up failed: %s", error)
            if not self._ready.cancelled():
                self._ready.set_exception(error)
        else:
            self._ready.set_result(None)

    async def _begin_serving(self, plan: BucketPlan) -> None:
        self._batcher = Batcher(
            self._policy,
            plan,
            max_queue_rows=self._config.batching.max_queue_rows,
            metrics=self._metrics,
        )
        self._servicer.serve_from(self._batcher)
        await self._health.set_serving(True)

    async def _stop_grpc(self, grace_seconds: float) -> None:
        await self._health.set_serving(False)
        await self._servicer.drain(grace_seconds)
        # Evaluates are answered; what may be left are health watchers, who never end by themselves.
        await self._server.stop(_GRPC_GRACE_SECONDS)


def build_teacher(config: TeacherConfig) -> TeacherServer:
    """Load the policy and make its server; nothing listens yet.

    Raises:
        UserError: The checkpoint is missing or unreadable.
    """
    return TeacherServer(config, load_policy(config))


def _server_options(description: TeacherDescription) -> list[tuple[str, int]]:
    largest_request = description.row_bytes * description.max_batch_rows
    return [
        (
            "grpc.max_receive_message_length",
            _READABLE_EXCESS * largest_request + _MESSAGE_OVERHEAD_BYTES,
        ),
        # Linux would let two servers share the port and each get some of the callers.
        ("grpc.so_reuseport", 0),
        # Clients check idle-looking connections every 30 s while a call is under way.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]
