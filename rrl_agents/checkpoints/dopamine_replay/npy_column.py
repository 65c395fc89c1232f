"""One column of a replay buffer: a gzip file of what `numpy.save` writes, read row by row.

Only version 1 of the format is read, which is what Dopamine writes: its header is at most 64 KiB.
Nothing is unpickled, and nothing is allocated by what a header says before that was checked.
"""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.gzip_stream import GzipStream

MAX_ROWS = 10_000_000
"""Largest capacity of a buffer: ten times Dopamine's."""

MAX_ROW_BYTES = 1 << 18
"""Largest row: a frame of 512 x 512."""

_VERSION_1 = b"\x93NUMPY\x01\x00"
_MOST_HEADER_BYTES = 1024
_MOST_DIMENSIONS = 4
_NUMBER_KINDS = "biuf"
_FOREIGN = "this is no column of a Dopamine replay buffer"


class NpyColumn:
    """An array [rows, ...] of numbers, read forward; a context manager.

    Every error is a ValueError that begins with the path.

    Attributes:
        path: The file.
        shape: As the header says.
        dtype: As the header says; numbers or booleans.
        trailer: The file's last 8 bytes, which hold a checksum of the content.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read its header.

        Raises:
            ValueError: No such file, no gzip file of a plain array, or one of an absurd size.
        """
        self.path = path
        self._stream = GzipStream(path)
        try:
            self.shape, self.dtype = _read_header(self._stream)
            size = math.prod(self.shape) * self.dtype.itemsize
            self._stream.check_announced(self._stream.position + size)
        except BaseException:
            self.close()
            raise
        self.trailer = self._stream.trailer

    def __enter__(self) -> NpyColumn:
        """The column itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def skip(self, rows: int) -> None:
        """Read over rows.

        Raises:
            ValueError: The file is truncated or damaged.
        """
        self._stream.skip(rows * math.prod(self.shape[1:]) * self.dtype.itemsize)

    def read(self, rows: int) -> NDArray[Any]:
        """The next rows, [rows, ...], in an array of their own.

        Raises:
            ValueError: The file is truncated or damaged.
        """
        content = np.empty((rows, *self.shape[1:]), self.dtype)
        self._stream.read_into(content.reshape(-1).view(np.uint8).data)
        return content

    def finish(self) -> None:
        """Make sure that the file ends here, undamaged.

        Raises:
            ValueError: It does not.
        """
        self._stream.finish()


def read_whole(path: Path) -> NDArray[Any]:
    """A small array as a whole: a column of numbers, or a scalar.

    Raises:
        ValueError: As `NpyColumn`; or a row is larger than a number.
    """
    with NpyColumn(path) as column:
        if len(column.shape) > 1:
            raise ValueError(f"{path}: shape {column.shape}; need one number per row")
        content = column.read(math.prod(column.shape))
        column.finish()
        return content.reshape(column.shape)


def _read_header(stream: GzipStream) -> tuple[tuple[int, ...], np.dtype[Any]]:
    path = stream.path
    if stream.read(len(_VERSION_1)) != _VERSION_1:
        raise ValueError(f"{path}: no array in numpy's format of version 1; {_FOREIGN}")
    length = stream.read(2)
    header_bytes = int.from_bytes(length, "little")
    if header_bytes > _MOST_HEADER_BYTES:
        raise ValueError(f"{path}: a header of {header_bytes} bytes; {_FOREIGN}")
    header = io.BytesIO(length + stream.read(header_bytes))
    try:
        with warnings.catch_warnings():
            # Python 2, which wrote the oldest ones, puts an L behind each number: numpy says so.
            warnings.simplefilter("ignore", UserWarning)
            parsed = np.lib.format.read_array_header_1_0(header)  # type: ignore[no-untyped-call]
    except Exception as error:  # Evaluating a hostile literal raises nearly anything.
        raise ValueError(f"{path}: header cannot be read ({type(error).__name__})") from None
    shape, is_fortran, dtype = parsed
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
