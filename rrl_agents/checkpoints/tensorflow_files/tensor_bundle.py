"""TensorFlow checkpoints (format V2, "tensor bundles") read with numpy alone.

A checkpoint named PREFIX is an index `PREFIX.index`, a sorted table of tensor name to place, and
its shards `PREFIX.data-00000-of-0000K`, the tensors' bytes one after the other. The messages in the
index are BundleHeaderProto (under the empty name) and BundleEntryProto of
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/tensor_bundle.proto.

Files are not trusted: sizes are compared with the files before anything is read, checksums of the
index and of every tensor that is read are verified.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.tensorflow_files.protobuf_wire import (
    WireFields,
    message_fields,
    number_field,
    read_fields,
)
from rrl_agents.checkpoints.tensorflow_files.sorted_table import masked_crc32c, read_table

MAX_INDEX_BYTES = 8 << 20
"""Bound of an index; an agent's has about 2 kB."""

MAX_SHARDS = 1000
"""Bound of data files; agents have one."""

MAX_DIMENSIONS = 32
"""As numpy 1's own limit."""

MAX_TENSORS_BYTES = 2 << 30
"""Bound of all that is read at once, 2 GiB: 30 times a full-size agent with its optimiser."""

_DECODED = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64}
_LISTED = {
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    10: "bool",
    14: "bfloat16",
    19: "float16",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies, as the index says.

    Attributes:
        dtype: Its type's name, as numpy's where numpy has it.
        shape: Its shape, () for a scalar.
        shard: Number of its data file.
        offset: First byte there.
        size: Bytes there.
        masked_crc32c: Checksum of those bytes.
        is_readable: Whether `read_tensor_bundle` decodes it: one whole tensor of float32, float64,
            int32 or int64.
    """

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    masked_crc32c: int
    is_readable: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Index:
    file: Path
    num_shards: int
    tensors: Mapping[str, StoredTensor]


def list_tensor_bundle(prefix: Path) -> dict[str, StoredTensor]:
    """List a checkpoint's tensors without opening its data.

    Args:
        prefix: Path of the checkpoint without its endings.

    Returns:
        Name -> what the index says, in order of names.

    Raises:
        ValueError: When the index is missing, damaged or of an unknown version.
    """
    return dict(_read_index(prefix).tensors)


def read_tensor_bundle(
    prefix: Path, wanted: Callable[[str], bool] | None = None
) -> dict[str, NDArray[Any]]:
    """Read tensors of a checkpoint.

    Args:
        prefix: Path of the checkpoint without its endings.
        wanted: Says of a name whether to read it; all that are readable when None.

    Returns:
        Name -> read-only array, in order of names.

    Raises:
        ValueError: When a file is missing, cut off or damaged, or a wanted tensor is of a type that
            is not read; the message names it.
    """
    index = _read_index(prefix)
    chosen = {
        name: tensor
        for name, tensor in index.tensors.items()
        if (tensor.is_readable if wanted is None else wanted(name))
    }
    for name, tensor in chosen.items():
        if not tensor.is_readable:
            raise ValueError(
                f"{index.file}: {name} is of {tensor.dtype} or stored in parts, which is not read; "
                "save it whole as float32"
            )
    total = sum(tensor.size for tensor in chosen.values())
    if total > MAX_TENSORS_BYTES:
        raise ValueError(
            f"{index.file}: announces {total} bytes of tensors, at most {MAX_TENSORS_BYTES} are "
            "read; this is no agent's checkpoint"
        )
    arrays: dict[str, NDArray[Any]] = {}
    for shard in sorted({tensor.shard for tensor in chosen.values()}):
        inside = {name: tensor for name, tensor in chosen.items() if tensor.shard == shard}
        arrays |= _read_shard(_shard_file(prefix, shard, index.num_shards), inside)
    return {name: arrays[name] for name in chosen}


def _read_index(prefix: Path) -> _Index:
    file = prefix.with_name(prefix.name + ".index")
    table = read_bounded(file, MAX_INDEX_BYTES, what="a TensorFlow checkpoint's index")
    try:
        return _parse_index(file, table)
    except ValueError as error:
        raise ValueError(f"{file}: no sound TensorFlow index ({error})") from error


def _parse_index(file: Path, table: bytes) -> _Index:
    entries = read_table(table)
    key, encoded_header = next(entries, (None, b""))
    if key != b"":
        raise ValueError("it does not begin with a header")
    num_shards = _check_header(read_fields(encoded_header))
    tensors: dict[str, StoredTensor] = {}
    for key, value in entries:
        # Parts of partitioned variables have keys that begin with a zero byte; the whole variable
        # is listed as well, as not readable.
        if not key.startswith(b"\0"):
            name = _tensor_name(key)
            try:
                tensors[name] = _parse_entry(read_fields(value), num_shards)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    return _Index(file=file, num_shards=num_shards, tensors=tensors)


def _tensor_name(key: bytes) -> str:
    try:
        name = key.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"name {key[:80]!r} is no UTF-8") from error
    if not name.isprintable():
        raise ValueError(f"name {key[:80]!r} holds control characters")
    return name


def _check_header(header: WireFields) -> int:
    """Number of shards; fields as in BundleHeaderProto."""
    num_shards, endianness = number_field(header, 1), number_field(header, 2)
    if not 1 <= num_shards <= MAX_SHARDS:
        raise ValueError(f"{num_shards} data files; 1 to {MAX_SHARDS} are allowed")
    if endianness != 0:
        raise ValueError("written on a big-endian machine, which is not supported")
    versions = message_fields(header, 3)
    oldest_reader = number_field(versions[-1], 2) if versions else 0
    if oldest_reader > 1:
        raise ValueError(f"needs a reader of version {oldest_reader}, this one has version 1")
    return num_shards


def _parse_entry(entry: WireFields, num_shards: int) -> StoredTensor:
    """Fields as in BundleEntryProto."""
    code, shape = number_field(entry, 1), _parse_shape(entry)
    shard, size = number_field(entry, 3), number_field(entry, 5)
    if shard >= num_shards:
        raise ValueError(f"lies in data file {shard} of {num_shards}")
    decoded = _DECODED.get(code)
    is_readable = decoded is not None and 7 not in entry  # Field 7: parts of a partitioned variable
    if decoded is not None and is_readable:
        expected = math.prod(shape) * np.dtype(decoded).itemsize
        if size != expected:
            raise ValueError(f"shape {shape} needs {expected} bytes, the index says {size}")
    return StoredTensor(
        dtype=_LISTED.get(code, f"type {code}") if decoded is None else np.dtype(decoded).name,
        shape=shape,
        shard=shard,
        offset=number_field(entry, 4),
        size=size,
        masked_crc32c=number_field(entry, 6),
        is_readable=is_readable,
    )


def _parse_shape(entry: WireFields) -> tuple[int, ...]:
    """Fields as in TensorShapeProto, which the entry's field 2 holds."""
    shapes = message_fields(entry, 2)
    dimensions = message_fields(shapes[-1], 2) if shapes else []
    if len(dimensions) > MAX_DIMENSIONS:
        raise ValueError(f"{len(dimensions)} dimensions; at most {MAX_DIMENSIONS} are allowed")
    return tuple(number_field(dimension, 1) for dimension in dimensions)


def _shard_file(prefix: Path, shard: int, num_shards: int) -> Path:
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{num_shards:05d}")


def _read_shard(file: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, NDArray[Any]]:
    try:
        with file.open("rb") as opened:
            length = opened.seek(0, 2)
            _check_places(file, length, tensors)
            arrays = {}
            for name, tensor in tensors.items():
                opened.seek(tensor.offset)
                arrays[name] = _decode(file, name, tensor, opened.read(tensor.size))
            return arrays
    except OSError as error:
        raise ValueError(
            f"{file}: cannot be read ({error.strerror}); copy it from where the index came from"
        ) from error


def _check_places(file: Path, length: int, tensors: Mapping[str, StoredTensor]) -> None:
    """Before anything is read: all lie inside, and together they are no more than the file."""
    for name, tensor in tensors.items():
        end = tensor.offset + tensor.size
        if end > length:
            raise ValueError(
                f"{file}: ends at byte {length}, but {name} lies at bytes {tensor.offset} to "
                f"{end}: cut off, or of another checkpoint; copy it again from its source"
            )
    total = sum(tensor.size for tensor in tensors.values())
    if total > length:
        raise ValueError(f"{file}: tensors of {total} bytes overlap in {length} bytes")


def _decode(file: Path, name: str, tensor: StoredTensor, content: bytes) -> NDArray[Any]:
    if masked_crc32c(content) != tensor.masked_crc32c:
        raise ValueError(
            f"{file}: the checksum of {name} (bytes {tensor.offset} to "
            f"{tensor.offset + tensor.size}) is wrong: damaged; copy it again from its source"
        )
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    return np.frombuffer(content, dtype).reshape(tensor.shape)
