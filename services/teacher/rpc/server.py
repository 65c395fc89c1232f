"""The gRPC server of an engine: contract, health of every model, reflection, security."""

from __future__ import annotations

import grpc.aio
from grpc_reflection.v1alpha import reflection

from rrl_client.channel import EVALUATE_HEALTH_NAME, FLOW_CONTROL
from rrl_client.v1 import teacher_pb2
from services.shared.call_limits import ServerLimits
from services.shared.grpc_server import Drain, GrpcServer, ListenAddress, Workers
from services.shared.health import WHOLE_PROCESS
from services.teacher.config import BatchingConfig, TeacherConfig
from services.teacher.engine import Engine
from services.teacher.metrics import TeacherMetrics
from services.teacher.rpc.handlers import teacher_handlers
from services.teacher.rpc.offered_memory import OfferedMemory
from services.teacher.rpc.servicer import TeacherServicer

SERVICE_NAME = teacher_pb2.DESCRIPTOR.services_by_name["Teacher"].full_name

READING_BYTES = 256 * 2**20
"""Memory bound of requests being read, and the same again for health checks."""

SHARED_BYTES = 256 * 2**20
SHARED_BYTES_IN_ALL = 4 * 2**30
"""Most mapped memory, of one client and in total. It takes address space, and pages once a client
writes to them."""

_REQUEST_SECONDS = 10.0
"""Time for the largest request over a slow connection."""
_KEPT_SECONDS = 1.0


def readiness_names(config: TeacherConfig) -> tuple[str, ...]:
    """The health names that say whether to send requests to the service.

    `EVALUATE_HEALTH_NAME` says whether it still answers, which it does a little longer.
    """
    models = dict.fromkeys(f"{SERVICE_NAME}/{model.name}" for model in config.models)
    return (WHOLE_PROCESS, SERVICE_NAME, *models)


def teacher_server(
    config: TeacherConfig,
    engine: Engine,
    metrics: TeacherMetrics,
    *,
    max_message_bytes: int,
) -> GrpcServer:
    """Build the server of an engine; health says NOT_SERVING until `set_serving`.

    Args:
        config: Addresses, security, models' names and limits.
        engine: The engine, which itself refuses queries before readiness and while stopping.
        metrics: Metrics of streams and refused requests.
        max_message_bytes: Largest message accepted.

    Raises:
        UserError: A credential is unusable.
    """
    batching, age = config.batching, config.connection_age_seconds
    memories = OfferedMemory(SHARED_BYTES if config.shared_memory else 0, SHARED_BYTES_IN_ALL)
    metrics.memories = lambda: memories.count

    def add(server: grpc.aio.Server, _: Workers) -> Drain:
        servicer = TeacherServicer(
            engine,
            metrics,
            memories=memories,
            longest_wait_seconds=batching.longest_wait_seconds,
            stream_credit_rows=batching.stream_credit_rows,
            connection_age_seconds=age,
        )
        server.add_generic_rpc_handlers((teacher_handlers(servicer),))
        services = (SERVICE_NAME, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, server)
        return servicer.drain

    return GrpcServer(
        "the teacher",
        SERVICE_NAME,
        ListenAddress(
            host=config.host,
            port=config.port,
            security=config.security,
            unix_socket=config.unix_socket,
        ),
        _limits(batching, max_message_bytes),
        add,
        parts=(*readiness_names(config), EVALUATE_HEALTH_NAME),
        options=(*FLOW_CONTROL, *(() if age is None else _age_options(age))),
        serves_at_once=False,
    )


def _age_options(age_seconds: float) -> tuple[tuple[str, int], ...]:
    """Ask connections of this age to close; abort them at twice the age."""
    milliseconds = max(1, round(1000 * age_seconds))
    return (
        ("grpc.max_connection_age_ms", milliseconds),
        ("grpc.max_connection_age_grace_ms", milliseconds),
    )


def _limits(batching: BatchingConfig, max_message_bytes: int) -> ServerLimits:
    return ServerLimits(
        # Every waiting request has at least one row; plus some room for reflection.
        calls=2 * batching.max_queue_rows + 64,
        # A client has a stream per model and replica, or some unary calls in flight; more calls
        # wait on its side.
        calls_per_connection=128,
        max_request_bytes=max_message_bytes,
        max_response_bytes=-1,
        reading_bytes=READING_BYTES,
        request_seconds=_REQUEST_SECONDS,
        kept_seconds=_KEPT_SECONDS,
    )
