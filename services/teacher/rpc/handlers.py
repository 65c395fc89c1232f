"""The teacher's methods as gRPC handlers.

Generated handlers let parser errors through: the stream would end with UNKNOWN and a traceback in
the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from rrl_client.v1 import teacher_pb2
from services.teacher.rpc.servicer import Context, TeacherServicer
from services.teacher.rpc.stream import read_frame

_SERVICE = teacher_pb2.DESCRIPTOR.services_by_name["Teacher"].full_name

_Unary = Callable[[Any, Context], Awaitable[Message]]


def teacher_handlers(servicer: TeacherServicer) -> grpc.GenericRpcHandler[Any, Any]:
    """The argument for `add_generic_rpc_handlers` of a `grpc.aio.server`.

    An invalid frame of a stream reaches the servicer as None.
    """
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Describe": _unary(servicer.Describe, teacher_pb2.DescribeRequest),
        "ListModels": _unary(servicer.ListModels, teacher_pb2.ListModelsRequest),
        "Evaluate": _unary(servicer.Evaluate, teacher_pb2.EvaluateRequest),
        "EvaluateStream": grpc.stream_stream_rpc_method_handler(
            servicer.EvaluateStream,
            request_deserializer=read_frame,
            response_serializer=_serialize,
        ),
    }
    return grpc.method_handlers_generic_handler(_SERVICE, methods)


def _unary(answer: _Unary, kind: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=kind.FromString, response_serializer=_serialize
    )


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
