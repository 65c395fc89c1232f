"""Sorted tables of keys and values as LevelDB lays them out: TensorFlow's checkpoint indices.

A table is a row of blocks and a footer. A block holds entries whose keys share prefixes with the
key before, then the offsets of its restart points, then one byte for the compression and a masked
CRC-32C; the index block holds the places of the data blocks. Layout:
https://github.com/google/leveldb/blob/main/doc/table_format.md. TensorFlow writes indices
uncompressed. Nothing is believed before it is compared with the length of the data.
"""

from __future__ import annotations

from collections.abc import Iterator

import google_crc32c

from rrl_agents.checkpoints.tensorflow_files.protobuf_wire import read_varint

MAX_ENTRIES = 20_000
"""Bound of entries in a table; a DQN agent's has 51."""

MAX_KEY_BYTES = 1024
"""Bound of a key: shared prefixes could make a small file unfold to many long ones."""

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5
_COMPRESSIONS = {0: "none", 1: "snappy"}
_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """CRC-32C as LevelDB and TensorFlow store it: rotated right by 15 bits, plus a constant."""
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def read_table(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Read a table's entries in order.

    Args:
        table: The whole file.

    Yields:
        Key and value.

    Raises:
        ValueError: When it is no table, cut off, damaged, compressed, out of order or too large.
    """
    if len(table) < _FOOTER_BYTES:
        raise ValueError(f"{len(table)} bytes, less than the {_FOOTER_BYTES} of a footer: cut off")
    footer = table[-_FOOTER_BYTES:]
    if int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError(
            f"byte {len(table) - 8} on are not the last ones of a table: cut off, or another file"
        )
    _, position = _read_place(footer, 0)  # The place of the meta block, which is empty.
    place, _ = _read_place(footer, position)
    entries, last, free = 0, None, 0
    for _, encoded in _block_entries(_read_block(table, *place)):
        (offset, size), _ = _read_place(encoded, 0)
        if offset < free:
            raise ValueError(f"the block at byte {offset} begins within another, before {free}")
        free = offset + size + _TRAILER_BYTES
        for key, value in _block_entries(_read_block(table, offset, size)):
            entries += 1
            if entries > MAX_ENTRIES:
                raise ValueError(f"more than {MAX_ENTRIES} entries; no agent has that many")
            if last is not None and key <= last:
                raise ValueError(f"key {key[:80]!r} does not come after {last[:80]!r}")
            last = key
            yield key, value


def _read_place(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """A block's offset and size, and the position after them."""
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position


def _read_block(table: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER_BYTES > len(table) - _FOOTER_BYTES:
        raise ValueError(f"a block of {size} bytes at byte {offset} leaves the file")
    compression = table[end]
    if compression != 0:
        name = _COMPRESSIONS.get(compression, f"number {compression}")
        raise ValueError(
            f"the block at byte {offset} has compression {name}, which TensorFlow does not use "
            "for checkpoints; save it anew with tf.compat.v1.train.Saver"
        )
    stored = int.from_bytes(table[end + 1 : end + _TRAILER_BYTES], "little")
    if masked_crc32c(table[offset : end + 1]) != stored:
        raise ValueError(f"the checksum of the block at byte {offset} is wrong: damaged")
    return table[offset:end]


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise ValueError(f"a block of {len(block)} bytes is too short")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError(f"a block of {len(block)} bytes can't have {restarts} restart points")
    position, key = 0, b""
    while position < end:
        shared, position = read_varint(block, position)
        unshared, position = read_varint(block, position)
        value_bytes, position = read_varint(block, position)
        value_start = position + unshared
        value_end = value_start + value_bytes
        if shared > len(key) or value_end > end:
            raise ValueError(f"the entry at byte {position} of its block leaves the block")
        if shared + unshared > MAX_KEY_BYTES:
            raise ValueError(f"a key of {shared + unshared} bytes; at most {MAX_KEY_BYTES}")
        key = key[:shared] + block[position:value_start]
        yield key, block[value_start:value_end]
        position = value_end
