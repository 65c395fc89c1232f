"""The teacher's methods as gRPC handlers; frames of a stream are looked at before they are parsed.

Generated handlers let the parser's error through: the stream ends with UNKNOWN, and the log gets a
traceback.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from rrl_client.v1 import teacher_pb2
from services.teacher.rpc.servicer import Context, TeacherServicer

_SERVICE = teacher_pb2.DESCRIPTOR.services_by_name["Teacher"].full_name

MOST_FRAME_FIELDS = 5000
"""Queries and cancelled tags that a frame may hold, before it is even parsed."""

# Wire types of protobuf.
_VARINT = 0
_BYTES = 2
_FIXED = {1: 8, 5: 4}
_VARINT_BITS = 70

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
            request_deserializer=_frame_reader,
            response_serializer=_serialize,
        ),
    }
    return grpc.method_handlers_generic_handler(_SERVICE, methods)


def _unary(answer: _Unary, kind: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=kind.FromString, response_serializer=_serialize
    )


def _frame_reader(content: bytes) -> teacher_pb2.QueryFrame | None:
    """Parse a frame; two bytes may be a query, so their number is looked at before memory goes."""
    if not has_few_fields(content, MOST_FRAME_FIELDS):
        return None
    try:
        return teacher_pb2.QueryFrame.FromString(content)
    except DecodeError:
        return None


def has_few_fields(content: bytes, most: int) -> bool:
    """Whether a message has at most `most` top-level fields; False too for what is no message.

    Only the lengths are read (protobuf's wire format): a few microseconds for an honest frame.
    """
    at, size = 0, len(content)
    for _ in range(most):
        if at >= size:
            return at == size
        key, at = _varint(content, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(content, at)
        elif kind == _BYTES:
            length, at = _varint(content, at)
            at += length
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            return False
    return at == size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number at a position, and the position behind it; past the end it is cut off."""
    value = shift = 0
    while at < len(content) and shift < _VARINT_BITS:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    return value, len(content) + 1


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
