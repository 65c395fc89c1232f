"""The teacher's methods as gRPC handlers that also survive what is no message.

Generated handlers let the parser's error through: the caller is told UNKNOWN, and the log gets a
traceback for every such request. These answer INVALID_ARGUMENT.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from protos.rrl.teacher.v1 import teacher_pb2
from services.teacher.rpc.servicer import Context, TeacherServicer

_SERVICE = teacher_pb2.DESCRIPTOR.services_by_name["Teacher"].full_name
_MessageT = TypeVar("_MessageT", bound=Message)
_Unary = Callable[[Any, Context], Awaitable[Message]]


def teacher_handlers(servicer: TeacherServicer) -> grpc.GenericRpcHandler[Any, Any]:
    """What `add_generic_rpc_handlers` of a `grpc.aio.server` takes.

    A frame of a stream that cannot be read reaches the servicer as None.
    """
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Describe": _unary(servicer.Describe, teacher_pb2.DescribeRequest),
        "ListModels": _unary(servicer.ListModels, teacher_pb2.ListModelsRequest),
        "Evaluate": _unary(servicer.Evaluate, teacher_pb2.EvaluateRequest),
        "EvaluateStream": grpc.stream_stream_rpc_method_handler(
            servicer.EvaluateStream,
            request_deserializer=_reader(teacher_pb2.QueryFrame),
            response_serializer=_serialize,
        ),
    }
    return grpc.method_handlers_generic_handler(_SERVICE, methods)


def _unary(answer: _Unary, kind: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
    async def answer_if_readable(request: Message | None, context: Context) -> Message:
        if request is None:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the request cannot be read; send {kind.DESCRIPTOR.full_name}",
            )
        return await answer(request, context)

    return grpc.unary_unary_rpc_method_handler(
        answer_if_readable,
        request_deserializer=_reader(kind),
        response_serializer=_serialize,
    )


def _reader(kind: type[_MessageT]) -> Callable[[bytes], _MessageT | None]:
    def read(content: bytes) -> _MessageT | None:
        try:
            return kind.FromString(content)
        except DecodeError:
            return None

    return read


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
