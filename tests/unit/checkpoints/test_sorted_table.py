"""Tables are written here entry by entry: hostile ones whose checksums are right."""

from __future__ import annotations

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.checkpoints.tensorflow_files.sorted_table import masked_crc32c, read_table

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
RESTART_AT_0 = bytes(4) + (1).to_bytes(4, "little")


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def entry(shared: int, key: bytes, value: bytes) -> bytes:
    return varint(shared) + varint(len(key)) + varint(len(value)) + key + value


def stored(block: bytes, compression: int = 0) -> bytes:
    """The block with its trailer."""
    content = block + bytes([compression])
    crc = google_crc32c.value(content)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    trailer: bytes = masked.to_bytes(4, "little")
    return content + trailer


def table(
    *blocks: bytes, compression: int = 0, places: list[tuple[int, int]] | None = None
) -> bytes:
    data, found = b"", []
    for block in blocks:
        found.append((len(data), len(block)))
        data += stored(block, compression)
    index = b"".join(
        entry(0, bytes([number]), varint(offset) + varint(size))
        for number, (offset, size) in enumerate(places or found)
    )
    index += RESTART_AT_0
    place = varint(len(data)) + varint(len(index))
    footer = (varint(0) + varint(0) + place).ljust(40, b"\0") + MAGIC
    return data + stored(index) + footer


def test_the_checksum_is_that_of_the_standard_masked() -> None:
    # RFC 3720, B.4: CRC-32C of 32 zero bytes is 0x8A9136AA. Rotated right by 15 bits it is
    # 0x6D551522 (low 15 bits 0x36AA to the top: 0x36AA << 17 = 0x6D540000, rest 0x8A9136AA >> 15
    # = 0x11522); plus 0xA282EAD8: 0x10FD7FFFA, of which 32 bits are kept.
    assert masked_crc32c(bytes(32)) == 0x0FD7FFFA


def test_keys_share_the_beginning_of_the_one_before() -> None:
    first = entry(0, b"conv/bias", b"1") + entry(5, b"kernel", b"22") + RESTART_AT_0
    second = entry(0, b"dense", b"") + RESTART_AT_0
    assert list(read_table(table(first, second))) == [
        (b"conv/bias", b"1"),
        (b"conv/kernel", b"22"),
        (b"dense", b""),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes, less than the 48 of a footer: cut off"),
        (bytes(100), "byte 92 on are not the last ones of a table"),
        (table(RESTART_AT_0, compression=1), "compression snappy"),
        (table(RESTART_AT_0, compression=9), "compression number 9"),
        (table(b"\0\0\0"), "block of 3 bytes is too short"),
        (table((5).to_bytes(4, "little")), "can't have 5 restart points"),
        (table(entry(1, b"k", b"") + RESTART_AT_0), "leaves the block"),
        (table(varint(0) + varint(9) + varint(9) + RESTART_AT_0), "leaves the block"),
        (table(entry(0, b"b", b"") + entry(0, b"a", b"") + RESTART_AT_0), "does not come after"),
        (table(entry(0, b"a", b"") + entry(1, b"", b"") + RESTART_AT_0), "does not come after"),
        (table(entry(0, b"k" * 1025, b"") + RESTART_AT_0), "a key of 1025 bytes"),
        (table(RESTART_AT_0, places=[(0, 2**40)]), "leaves the file"),
        (table(RESTART_AT_0, places=[(2**63, 8)]), "leaves the file"),
    ],
)
def test_a_table_that_is_none_is_an_error_that_says_why(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_table(data))


def test_one_block_can_not_be_read_again_and_again() -> None:
    """Else an index of a million places in an empty block of a megabyte would take minutes."""
    with pytest.raises(ValueError, match="begins within another, before 13"):
        list(read_table(table(RESTART_AT_0, places=[(0, 8), (0, 8)])))


def test_a_table_has_a_bounded_number_of_entries() -> None:
    many = b"".join(entry(0, number.to_bytes(4, "big"), b"") for number in range(20_001))
    with pytest.raises(ValueError, match="more than 20000 entries"):
        list(read_table(table(many + RESTART_AT_0)))


def test_every_changed_byte_of_a_block_is_noticed() -> None:
    sound = table(entry(0, b"key", b"value") + RESTART_AT_0)
    for position in range(len(sound) - 48):
        damaged = bytearray(sound)
        damaged[position] ^= 1
        with pytest.raises(ValueError, match="checksum|compression"):
            list(read_table(bytes(damaged)))


@given(st.lists(st.binary(max_size=200), max_size=3), st.integers(0, 5))
def test_blocks_of_any_content_are_read_or_refused(blocks: list[bytes], restarts: int) -> None:
    tails = [block + bytes(4 * restarts) + restarts.to_bytes(4, "little") for block in blocks]
    data = table(*tails)
    try:
        entries = list(read_table(data))
    except ValueError:
        return
    assert all(len(key) <= 1024 and len(value) <= len(data) for key, value in entries)
