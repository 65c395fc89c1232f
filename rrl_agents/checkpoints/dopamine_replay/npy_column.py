"""One column of a replay buffer: a gzip file of what `numpy.save` writes, read row by row.

Only version 1 of the format is read, which is what Dopamine writes. Nothing is unpickled, and
nothing is allocated by what a header says before that was checked: recorded data is read as a
stream, by the process that uses it, so bounds of size are what a hostile column meets.
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
_MOST_DIMENSIONS = 4
_NUMBER_KINDS = "biuf"
_PIECE_BYTES = 1 << 20
_TRAILER_BYTES = 8
_FOREIGN = "this is no column of a Dopamine replay buffer"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NpyColumn:
    """An array [rows, ...] of numbers, read forward.

    Attributes:
        path: The file.
        file: What it holds, unpacked; stands at the next row.
        shape: As the header says.
        dtype: As the header says; numbers or booleans.
        trailer: The packed file's last 8 bytes: CRC-32 of the content, and its size modulo 2**32,
            which is compared with what the header says.
    """

    path: Path
    file: gzip.GzipFile
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    trailer: bytes

    def read(self, rows: int) -> NDArray[Any]:
        """The next rows, [rows, ...].

        Raises:
            ValueError: Fewer are left.
        """
        size = rows * self._row_bytes
        content = read_up_to(self.file, size)
        if len(content) < size:
            raise ValueError(f"{self.path}: truncated, it holds less than it announces; copy again")
        return np.frombuffer(content, self.dtype).reshape(rows, *self.shape[1:])

    def skip(self, rows: int) -> None:
        """Read over rows.

        Raises:
            ValueError: Fewer are left.
        """
        at_once = max(_PIECE_BYTES // self._row_bytes, 1)
        for start in range(0, rows, at_once):
            self.read(min(at_once, rows - start))

    def finish(self) -> None:
        """Make sure that nothing is left, and that the content was as it was packed.

        Raises:
            ValueError: It was not.
        """
        if self.file.read(1):
            raise ValueError(f"{self.path}: holds more than it announces; {_FOREIGN}")

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize


@contextlib.contextmanager
def opened_gzip(path: Path) -> Iterator[gzip.GzipFile]:
    """A gzip file; whatever is wrong with it is a ValueError that begins with its path."""
    if path.exists() and not path.is_file():
        # A pipe would be waited for until somebody writes.
        raise ValueError(f"{path}: no regular file; copy the replay data again")
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: cannot be read ({reason}); copy it again") from error


def read_up_to(file: gzip.GzipFile, size: int) -> bytearray:
    """The next bytes, in pieces: one read would allocate all of the size, whatever there is."""
    content = bytearray()
    while piece := file.read(min(size - len(content), _PIECE_BYTES)):
        content += piece
    return content


@contextlib.contextmanager
def opened_column(path: Path) -> Iterator[NpyColumn]:
    """A column, its header read and checked.

    Raises:
        ValueError: No such file, no gzip file of a plain array, one of an absurd size, or damaged,
            which may show while it is read; the message begins with the path.
    """
    with opened_gzip(path) as file:
        shape, dtype = _read_header(file, path)
        trailer = _trailer(path, file.tell() + math.prod(shape) * dtype.itemsize)
        yield NpyColumn(path=path, file=file, shape=shape, dtype=dtype, trailer=trailer)


def read_whole(path: Path) -> NDArray[Any]:
    """A small array as a whole: a column of numbers, or a scalar.

    Raises:
        ValueError: As `opened_column`; or a row is larger than a number.
    """
    with opened_column(path) as column:
        if len(column.shape) > 1:
            raise ValueError(f"{path}: shape {column.shape}; need one number per row")
        content = column.read(math.prod(column.shape))
        column.finish()
        return content.reshape(column.shape)


def _trailer(path: Path, announced: int) -> bytes:
    """The packed file's last 8 bytes, which speak of as many bytes as the content announces.

    So a file that was cut off is noticed before it is unpacked, and so are bytes behind it and
    content in several of gzip's members, where the trailer is no checksum of the whole.
    """
    with path.open("rb") as file:
        file.seek(-_TRAILER_BYTES, os.SEEK_END)
        trailer = file.read()
    size = int.from_bytes(trailer[4:], "little")
    if size != announced % 2**32:
        raise ValueError(
            f"{path}: announces {announced} bytes, but its end speaks of {size} (modulo 2**32); "
            "it is truncated or was altered: copy it again"
        )
    return trailer


def _read_header(file: gzip.GzipFile, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = npy.read_magic(file)  # type: ignore[no-untyped-call]
    except ValueError:
        version = None
    if version != (1, 0):
        raise ValueError(f"{path}: no array in numpy's format of version 1; {_FOREIGN}")
    try:
        with warnings.catch_warnings():
            # Python 2, which wrote the oldest ones, puts an L behind each number: numpy says so.
            warnings.simplefilter("ignore", UserWarning)
            # numpy's annotations lack the argument.
            shape, is_fortran, dtype = npy.read_array_header_1_0(  # type: ignore[no-untyped-call, call-arg]
                file, max_header_size=_MOST_HEADER_BYTES
            )
    except (OSError, EOFError, zlib.error):
        raise
    except Exception as error:  # Evaluating a hostile literal raises nearly anything.
        raise ValueError(f"{path}: header cannot be read ({type(error).__name__})") from None
    _check_header(path, shape, is_fortran, dtype)
    return shape, dtype


def _check_header(
    path: Path, shape: tuple[int, ...], is_fortran: bool, dtype: np.dtype[Any]
) -> None:
    if dtype.kind not in _NUMBER_KINDS or dtype.subdtype is not None:
        shown = "objects, which would have to be unpickled" if dtype.hasobject else f"{dtype}"
        raise ValueError(f"{path}: an array of {shown[:80]}; only numbers are read")
    if is_fortran and len(shape) > 1:
        raise ValueError(f"{path}: stored column by column (Fortran order); {_FOREIGN}")
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    sane = (
        len(shape) <= _MOST_DIMENSIONS
        and all(type(size) is int and size >= 0 for size in shape)
        and math.prod(shape[:1]) <= MAX_ROWS
        and row_bytes <= MAX_ROW_BYTES
    )
    if not sane:
        raise ValueError(
            f"{path}: announces shape {str(shape)[:80]} of {dtype}; at most {MAX_ROWS} rows of "
            f"{MAX_ROW_BYTES} bytes are read"
        )
