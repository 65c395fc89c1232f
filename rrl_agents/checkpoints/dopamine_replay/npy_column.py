"""One column of a replay buffer: a gzipped `numpy.save` file, read row by row.

Only version 1 of the format, which Dopamine writes, is supported. Nothing is unpickled, and no
header is trusted before it is checked: recorded data is streamed by the process that uses it,
protected by size bounds only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import math
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MAX_ROWS = 10_000_000
"""Largest capacity of a buffer: ten times Dopamine's."""

MAX_ROW_BYTES = 1 << 18
"""Largest row: a frame of 512 x 512."""

_MOST_HEADER_BYTES = 1024
_TRAILER_BYTES = 8


@dataclasses.dataclass(frozen=True)
class NpyColumn:
    """An array [rows, ...] of numbers.

    Attributes:
        path: The file.
        file: Its decompressed content.
        header_bytes: Offset of the rows.
        shape: Shape in the header.
        dtype: Type in the header; numbers or booleans.
        trailer: The compressed file's last 8 bytes: CRC-32 of the content, and its size modulo
            2**32.
    """

    path: Path
    file: gzip.GzipFile
    header_bytes: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    trailer: bytes

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """The rows [start, stop); cheap if they follow the last rows read.

        Raises:
            ValueError: There are fewer.
        """
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self.file.seek(self.header_bytes + start * row_bytes)
        content = self.file.read((stop - start) * row_bytes)
        if len(content) < (stop - start) * row_bytes:
            raise ValueError(f"{self.path}: truncated, it holds less than it announces; copy again")
        return np.frombuffer(content, self.dtype).reshape(stop - start, *self.shape[1:])

    def check_end(self) -> None:
        """Check that nothing is left, and that the content matches its checksum.

        Raises:
            ValueError: There is more, or it does not match.
        """
        self.file.seek(self.end)
        if self.file.read(1):
            raise ValueError(f"{self.path}: holds more than it announces; copy it again")

    @property
    def end(self) -> int:
        """Bytes of header and rows, by the header."""
        return self.header_bytes + math.prod(self.shape) * self.dtype.itemsize


@contextlib.contextmanager
def opened_column(path: Path, dimensions: int, types: str) -> Iterator[NpyColumn]:
    """Open a column, and check its header.

    The size in the gzip trailer must agree with the header. This detects truncated files before
    decompression, and files with several gzip members, whose trailer does not cover the whole.

    Args:
        path: The file.
        dimensions: Required number of dimensions.
        types: Allowed type codes, as in `numpy.typecodes`.

    Raises:
        ValueError: The file is missing, not a gzip file of such an array, too large, or damaged,
            which may only show while reading; the message begins with the path.
    """
    try:
        with gzip.open(path, "rb") as file:
            shape, dtype = _read_header(file, path, dimensions, types)
            trailer = _read_trailer(path)
            column = NpyColumn(path, file, file.tell(), shape, dtype, trailer)
            packed = int.from_bytes(trailer[4:], "little")
            if packed != column.end % 2**32:
                raise ValueError(
                    f"{path}: announces {column.end} bytes, but its end speaks of {packed} (modulo "
                    "2**32); it is truncated or was altered: copy it again"
                )
            yield column
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: cannot be read ({reason}); copy it again") from error


def read_column(path: Path, dimensions: int, types: str) -> NDArray[Any]:
    """Read a whole column of small rows, or a scalar.

    Raises:
        ValueError: As `opened_column`.
    """
    with opened_column(path, dimensions, types) as column:
        content = column.read(0, math.prod(column.shape[:1]))
        column.check_end()
        return content.reshape(column.shape)


def _read_trailer(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-_TRAILER_BYTES, os.SEEK_END)
        return file.read()


def _read_header(
    file: gzip.GzipFile, path: Path, dimensions: int, types: str
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        with warnings.catch_warnings():
            # Python 2, which wrote the oldest ones, appends an L to each number; NumPy warns about
            # it.
            warnings.simplefilter("ignore", UserWarning)
            version = npy.read_magic(file)  # type: ignore[no-untyped-call]
            # numpy's annotations lack the argument.
            shape, is_fortran, dtype = npy.read_array_header_1_0(  # type: ignore[no-untyped-call, call-arg]
                file, max_header_size=_MOST_HEADER_BYTES
            )
    except Exception as error:  # Evaluating a hostile literal raises nearly anything.
        raise ValueError(f"{path}: no array in numpy's format of version 1 ({error!r})") from None
    fits = (
        version == (1, 0)
        and dtype.char in types
        and len(shape) == dimensions
        and not (is_fortran and dimensions > 1)
        and all(type(size) is int and size > 0 for size in shape)
        and math.prod(shape[:1]) <= MAX_ROWS
        and math.prod(shape[1:]) * dtype.itemsize <= MAX_ROW_BYTES
    )
    if not fits:
        raise ValueError(
            f"{path}: an array of {str(dtype)[:80]} of shape {str(shape)[:80]}; this column of a "
            f"replay buffer has {dimensions} dimensions in C order, numbers of the types {types}, "
            f"and at most {MAX_ROWS} rows of {MAX_ROW_BYTES} bytes, in numpy's format of version 1"
        )
    return shape, dtype
