"""The teacher service as a process-independent object: build, start, wait, stop.

    policies ──▶ engine ──┬── gRPC (TCP, Unix socket): rrl.teacher.v1.Teacher, health, reflection
                          └── HTTP: Prometheus metrics

Life cycle: `start` binds the port and returns. Health says NOT_SERVING while every batch size is
compiled and timed, then SERVING. `stop` sets NOT_SERVING, still accepts requests for the lame-duck
time, then refuses new ones with UNAVAILABLE, answers queued ones, and closes. gRPC's event loop and
the policies run in their own threads, so the object works in any process.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector

from rrl_client import TeacherDescription
from rrl_client.addresses import format_address
from rrl_client.shared_memory import host_id
from services.shared.addresses import check_port_is_free
from services.shared.allocator import keep_large_buffers
from services.shared.compilations import compilations
from services.shared.errors import UserError
from services.shared.grpc_server import GrpcServer
from services.shared.metrics import MetricsServer
from services.shared.security.server import check_exposure
from services.teacher.batching.buckets import BucketPlan
from services.teacher.config import ModelConfig, TeacherConfig
from services.teacher.engine import Engine
from services.teacher.metrics import TeacherMetrics
from services.teacher.policies.interface import Policy
from services.teacher.policies.loading import load_policy
from services.teacher.policies.timing import warm_up
from services.teacher.reloading import Reloader
from services.teacher.rpc.server import SERVICE_NAME, readiness_names, teacher_server

__all__ = ["SERVICE_NAME", "Stopped", "TeacherServer", "build_teacher"]

_LOG = logging.getLogger(__name__)
_READY_POLL_SECONDS = 0.2
_MESSAGE_OVERHEAD_BYTES = 64 * 1024
LARGEST_MESSAGE_BYTES = 4 * 2**20
"""gRPC's own default, 148 Atari states; our clients split larger queries.

Each caller in the middle of a message takes this much memory, and many of them must fit the
machine. gRPC refuses larger messages unread, with RESOURCE_EXHAUSTED."""


class Stopped(Exception):
    """The service was stopped before it was ready."""


class TeacherServer:
    """Serves policies on a gRPC port."""

    def __init__(
        self,
        config: TeacherConfig,
        policies: Sequence[Policy],
        load: Callable[[ModelConfig, str], Policy] | None = None,
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            config: Models, ports and limits.
            policies: One for each of the config's models.
            load: Loads new weights of a model for a backend; None never reloads.
        """
        self._config = config
        self._policies = policies
        self._load = load
        self._registry = CollectorRegistry()
        self._metrics = TeacherMetrics(self._registry)
        ProcessCollector(registry=self._registry)
        self._metrics_server: MetricsServer | None = None
        self._max_message_bytes = _max_message_bytes(policies)
        self._engine = Engine(
            config.batching,
            self._metrics,
            max_message_bytes=self._max_message_bytes,
            kept_versions=config.kept_versions,
            host_id=host_id() if config.shared_memory else "",
            device_threads=max(policy.max_concurrency for policy in policies),
        )
        self._grpc: GrpcServer | None = None
        self._port = 0
        self._reloader: Reloader | None = None
        self._warm_up_thread = threading.Thread(
            target=self._warm_up, name="teacher-warm-up", daemon=True
        )
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._stopping = threading.Lock()
        self._stopped = threading.Event()

    @property
    def description(self) -> TeacherDescription:
        """Description of the default model; after readiness."""
        return self._engine.describe()

    @property
    def descriptions(self) -> Sequence[TeacherDescription]:
        """Every model in every version; after readiness."""
        return self._engine.descriptions()

    @property
    def address(self) -> str:
        """The "host:port" that it listens on, after `start`."""
        return format_address(self._config.host, self._port)

    @property
    def metrics_port(self) -> int | None:
        """TCP port of the metrics page, after `start`; None without one."""
        return None if self._metrics_server is None else self._metrics_server.port

    def start(self) -> int:
        """Bind the ports, answer NOT_SERVING, and start to warm up in another thread.

        Returns:
            The TCP port of the service.

        Raises:
            UserError: A port is in use, the host is not this machine, or a credential is unusable;
                nothing is left running then.
        """
        config = self._config
        keep_large_buffers()
        try:
            _check_addresses(config)
            if config.metrics_port is not None:
                self._metrics_server = MetricsServer(
                    self._registry,
                    host=config.metrics_host,
                    port=config.metrics_port,
                )
            self._grpc = teacher_server(
                config, self._engine, self._metrics, max_message_bytes=self._max_message_bytes
            )
            self._port = self._grpc.start()
        except UserError:
            self.stop(0.0)
            raise
        self._warm_up_thread.start()
        return self._port

    def run(self, stop: threading.Event, on_ready: Callable[[], None] = lambda: None) -> None:
        """Start and serve until `stop` is set; the caller stops the server.

        Args:
            stop: Ends serving.
            on_ready: Called once it serves.

        Raises:
            UserError: The policy failed while it warmed up.
        """
        while not stop.is_set():
            try:
                self.wait_until_ready(_READY_POLL_SECONDS)
            except TimeoutError:
                continue
            on_ready()
            stop.wait()

    @property
    def failure(self) -> BaseException | None:
        """Why it could not serve; None if it serves, still warms up, or was stopped."""
        if not self._ready.done() or self._ready.cancelled():
            return None
        return self._ready.exception()

    def wait_until_ready(self, timeout_seconds: float | None = None) -> None:
        """Block until warmed up and SERVING.

        Raises:
            TimeoutError: It took longer.
            Stopped: `stop` was called first.
            UserError: The policy failed while it warmed up.
        """
        try:
            self._ready.result(timeout_seconds)
        except concurrent.futures.CancelledError as error:
            raise Stopped("the teacher was stopped while it warmed up") from error
        except concurrent.futures.TimeoutError as error:
            raise TimeoutError(
                f"the teacher was not ready within {timeout_seconds} s; give it more time, or "
                "fewer buckets"
            ) from error

    def reload(self) -> None:
        """Request a check of every model for new weights; safe in a signal handler."""
        if self._reloader is not None:
            self._reloader.look_now()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Block until stopped; False on timeout."""
        return self._stopped.wait(timeout_seconds)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Drain and close; a second call waits for the first.

        Args:
            grace_seconds: Seconds to answer queued requests, after the lame-duck time.
        """
        with self._stopping:
            if self._stopped.is_set():
                return
            serving = self._ready.done() and not self._ready.cancelled()
            self._ready.cancel()
            if self._warm_up_thread.is_alive():
                self._warm_up_thread.join()
            self._metrics.serving = False
            if self._grpc is not None:
                self._grpc.set_serving(False, readiness_names(self._config))
            if self._reloader is not None:
                self._reloader.stop()
            if serving and grace_seconds > 0:
                time.sleep(self._config.lame_duck_seconds)
            end = time.monotonic() + grace_seconds
            self._engine.refuse()
            if self._grpc is not None:
                self._grpc.stop(grace_seconds)
            self._engine.close(max(end - time.monotonic(), 0.0))
            if self._metrics_server is not None:
                self._metrics_server.close()
            self._stopped.set()

    def _warm_up(self) -> None:
        try:
            for model, policy in zip(self._config.models, self._policies, strict=True):
                # A stop ends the warm-up after the current batch size.
                buckets = itertools.takewhile(
                    lambda _: not self._ready.cancelled(), self._config.batching.buckets
                )
                seconds = warm_up(policy, buckets)
                if self._ready.cancelled():
                    return
                plan = BucketPlan(seconds, dynamic_batch_size=policy.dynamic_batch_size)
                self._engine.add_version(model.name, policy, plan)
                _log_plan(model.name, policy, seconds)
            if self._ready.set_running_or_notify_cancel():
                self._begin_serving()
        except Exception as error:
            _LOG.error("the teacher cannot serve: %s", error)
            if not self._ready.cancelled():
                self._ready.set_exception(error)
        else:
            if not self._ready.cancelled():
                self._ready.set_result(None)

    def _begin_serving(self) -> None:
        before = compilations()
        self._metrics.compilations = lambda: compilations() - before
        self._engine.open()
        assert self._grpc is not None, "it warms up once it listens"
        self._grpc.set_serving(True)
        self._metrics.serving = True
        if self._load is not None:
            self._reloader = Reloader(
                self._engine,
                self._config.models,
                self._load,
                metrics=self._metrics,
                buckets=self._config.batching.buckets,
                period_seconds=self._config.reload_seconds,
            )
            self._reloader.start()


def build_teacher(config: TeacherConfig) -> TeacherServer:
    """Load the policies and build their server; nothing listens yet.

    Raises:
        UserError: A checkpoint is missing or unreadable, or the service could not listen.
    """
    # Checked before spending seconds on comparing backends.
    _check_addresses(config)

    def load(model: ModelConfig, backend: str) -> Policy:
        return load_policy(
            model.reference, backend=backend, dtype=config.dtype, buckets=config.batching.buckets
        )

    policies = [load(model, config.backend) for model in config.models]
    return TeacherServer(config, policies, load)


def _check_addresses(config: TeacherConfig) -> None:
    check_exposure(config.security, config.host)
    check_port_is_free(config.host, config.port, purpose="the teacher", flag="--port")
    if config.metrics_port is not None:
        check_port_is_free(
            config.metrics_host,
            config.metrics_port,
            purpose="the metrics page",
            flag="--metrics-port",
        )


def _max_message_bytes(policies: Sequence[Policy]) -> int:
    row_bytes = max(policy.info.spec.row_bytes for policy in policies)
    return max(LARGEST_MESSAGE_BYTES, row_bytes + _MESSAGE_OVERHEAD_BYTES)


def _log_plan(model: str, policy: Policy, seconds_by_bucket: dict[int, float]) -> None:
    times = ", ".join(f"{rows}: {1e3 * s:.2f}" for rows, s in seconds_by_bucket.items())
    _LOG.info("%s on %s: ms by batch size %s", model, policy.backend, times)
