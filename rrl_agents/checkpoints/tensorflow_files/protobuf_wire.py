"""Fields of one protobuf message, read without its schema.

For the few small messages of TensorFlow's checkpoint index, whose schema is fixed, so that neither
TensorFlow nor its generated modules are needed. Encoding:
https://protobuf.dev/programming-guides/encoding. All errors are ValueErrors.
"""

from __future__ import annotations

from typing import TypeAlias

WireFields: TypeAlias = "dict[int, list[int | bytes]]"
"""Field number -> its values in order: numbers for varints and fixed sizes, bytes for the rest."""

_MAX_FIELD_NUMBER = (1 << 29) - 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a number of seven bits per byte, lowest first.

    Args:
        data: What it lies in.
        position: Its first byte.

    Returns:
        The number, 0 to 2**64 - 1, and the position after it.

    Raises:
        ValueError: When it is cut off or longer than 64 bits.
    """
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            raise ValueError(f"cut off within a number at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    if byte >= 0x80 or value >> 64:
        raise ValueError(f"a number of more than 64 bits ends at byte {position}")
    return value, position


def read_fields(message: bytes) -> WireFields:
    """Split a message into its fields.

    Args:
        message: The encoded message.

    Returns:
        The fields.

    Raises:
        ValueError: When the message is cut off or holds what proto3 does not write.
    """
    fields: WireFields = {}
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_FIELD_NUMBER:
            raise ValueError(f"field number {number} at byte {position}")
        value, position = _read_value(message, position, kind)
        fields.setdefault(number, []).append(value)
    return fields


def number_field(fields: WireFields, number: int) -> int:
    """The value of a numeric field; the last one counts, and 0 stands for an absent one.

    Raises:
        ValueError: When the field holds bytes.
    """
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {number} holds bytes in place of a number")
    return value


def message_fields(fields: WireFields, number: int) -> list[WireFields]:
    """All messages in a field, in order.

    Raises:
        ValueError: When the field holds a number, or one of the messages is damaged.
    """
    return [read_fields(_as_bytes(value, number)) for value in fields.get(number, [])]


def _read_value(message: bytes, position: int, kind: int) -> tuple[int | bytes, int]:
    if kind == _VARINT:
        return read_varint(message, position)
    if kind == _BYTES:
        size, position = read_varint(message, position)
    elif kind in _FIXED_SIZES:
        size = _FIXED_SIZES[kind]
    else:
        raise ValueError(f"wire type {kind} at byte {position}")
    end = position + size
    if end > len(message):
        raise ValueError(f"cut off: {size} bytes at byte {position} of {len(message)}")
    content = message[position:end]
    return (content if kind == _BYTES else int.from_bytes(content, "little")), end


def _as_bytes(value: int | bytes, number: int) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} holds a number in place of a message")
    return value
