from __future__ import annotations

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.checkpoints.tensorflow_files.protobuf_wire import (
    message_fields,
    number_field,
    read_fields,
    read_varint,
)


def test_a_varint_holds_seven_bits_per_byte_lowest_first() -> None:
    # 300 = 0b10_0101100: the low seven bits 0101100 with the mark of more, 0xAC, then 0b10.
    assert read_varint(b"\xff\xac\x02\xff", 1) == (300, 3)
    # Nine bytes of ones are 63 bits, the tenth holds the 64th.
    assert read_varint(b"\xff" * 9 + b"\x01", 0) == (2**64 - 1, 10)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01"])
def test_a_number_that_is_cut_off_or_too_long_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="cut off within a number|more than 64 bits"):
        read_varint(data, 0)


@given(st.dictionaries(st.text(), st.floats(allow_nan=False)))
def test_fields_are_those_of_protobufs_own_encoder(values: dict[str, float]) -> None:
    """A Struct has map entries in field 1: key in field 1, Value in field 2 (double: field 2)."""
    message = struct_pb2.Struct()
    message.update(values)
    found = {}
    for entry in message_fields(read_fields(message.SerializeToString()), 1):
        (key,) = entry[1]
        assert isinstance(key, bytes)
        (value,) = message_fields(entry, 2)
        found[key.decode()] = struct_pb2.Value(number_value=values[key.decode()])
        bits = number_field(value, 2)
        assert bits == int.from_bytes(found[key.decode()].SerializeToString()[1:], "little")
    assert found.keys() == values.keys()


def test_an_absent_number_is_0_and_the_last_of_several_counts() -> None:
    # Field 1, varint (tag 0x08), twice.
    fields = read_fields(b"\x08\x05\x08\x07")
    assert (number_field(fields, 1), number_field(fields, 2)) == (7, 0)


def test_fields_of_the_wrong_kind_are_errors() -> None:
    with pytest.raises(ValueError, match="bytes in place of a number"):
        number_field(read_fields(b"\x0a\x00"), 1)
    with pytest.raises(ValueError, match="a number in place of a message"):
        message_fields(read_fields(b"\x08\x05"), 1)


@given(st.binary(max_size=64))
def test_any_bytes_are_fields_or_an_error(data: bytes) -> None:
    try:
        fields = read_fields(data)
    except ValueError:
        return
    assert sum(map(len, fields.values())) <= len(data)
