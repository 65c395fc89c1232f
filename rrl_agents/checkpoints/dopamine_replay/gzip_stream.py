"""A gzip file read forward, never unpacking more than is asked for.

Twice as fast as `gzip.GzipFile` on frames of Atari games, and strict: one member, nothing behind
it. zlib itself checks the CRC at the end.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from types import TracebackType

MOST_EXPANSION = 1032
"""Deflate's limit: no byte of a file unpacks to more than this."""

_PACKED_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20
_GZIP_ONLY = 16 + zlib.MAX_WBITS
_SMALLEST_FILE = 18
"""Bytes of header and trailer."""


class GzipStream:
    """One gzip file; a context manager. Every error is a ValueError that names the file.

    Attributes:
        path: The file.
        packed_bytes: Its size.
        trailer: Its last 8 bytes: CRC-32 of the content, and the content's size modulo 2**32.
        position: Bytes of content read so far.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            ValueError: It cannot be opened, or is too short for gzip.
        """
        self.path = path
        if path.exists() and not path.is_file():
            # A pipe would be waited for until somebody writes.
            raise ValueError(f"{path}: no regular file; copy the replay data again")
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror}); check the path") from None
        self.packed_bytes = os.fstat(self._file.fileno()).st_size
        if self.packed_bytes < _SMALLEST_FILE:
            self._file.close()
            raise ValueError(f"{path}: {self.packed_bytes} bytes are no gzip file; copy it again")
        self._file.seek(-8, os.SEEK_END)
        self.trailer = self._file.read(8)
        self._file.seek(0)
        self.position = 0
        self._inflater = zlib.decompressobj(_GZIP_ONLY)

    def __enter__(self) -> GzipStream:
        """The stream itself."""
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
        self._file.close()

    def check_announced(self, content_bytes: int) -> None:
        """Compare the size that the content announces with what the file can hold.

        Raises:
            ValueError: They cannot both be right: the file was cut off, or lies.
        """
        if content_bytes > MOST_EXPANSION * self.packed_bytes:
            raise ValueError(
                f"{self.path}: announces {content_bytes} bytes, which {self.packed_bytes} packed "
                "bytes cannot hold; the file is truncated or false: copy it again"
            )
        (size,) = struct.unpack("<I", self.trailer[4:])
        if size != content_bytes % 2**32:
            raise ValueError(
                f"{self.path}: announces {content_bytes} bytes, but the end of the file speaks of "
                f"{size} (modulo 2**32); it is truncated or was altered: copy it again"
            )

    def read(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            ValueError: Fewer are left, or the file is damaged.
        """
        content = bytearray(size)
        self.read_into(memoryview(content))
        return bytes(content)

    def read_into(self, target: memoryview) -> None:
        """Fill `target`, which is of bytes.

        Raises:
            ValueError: Fewer are left, or the file is damaged.
        """
        filled = 0
        while filled < len(target):
            piece = self._piece(min(len(target) - filled, _PIECE_BYTES))
            target[filled : filled + len(piece)] = piece
            filled += len(piece)

    def skip(self, size: int) -> None:
        """Read over `size` bytes.

        Raises:
            ValueError: Fewer are left, or the file is damaged.
        """
        while size:
            size -= len(self._piece(min(size, _PIECE_BYTES)))

    def finish(self) -> None:
        """Make sure that nothing is left, and that the content was as it was packed.

        Raises:
            ValueError: There is more, or the CRC is wrong.
        """
        if not self._inflater.eof and self._inflate(1):
            raise ValueError(f"{self.path}: holds more than it announces; {_ALTERED}")
        if not self._inflater.eof:
            raise ValueError(f"{self.path}: {_TRUNCATED}")
        if self._inflater.unused_data or self._file.read(1):
            raise ValueError(f"{self.path}: something follows the packed content; {_ALTERED}")

    def _piece(self, most: int) -> bytes:
        """At least 1 byte, at most `most`."""
        piece = self._inflate(most)
        if not piece:
            raise ValueError(f"{self.path}: {_TRUNCATED}")
        self.position += len(piece)
        return piece

    def _inflate(self, most: int) -> bytes:
        """Up to `most` bytes; none at the end of the content or of the file."""
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._file.read(_PACKED_BYTES)
            try:
                piece = self._inflater.decompress(packed, most)
            except zlib.error as error:
                raise ValueError(f"{self.path}: damaged ({error}); copy it again") from None
            if piece or not packed:
                return piece
        return b""


_TRUNCATED = "truncated, it holds less than it announces; copy it again"
_ALTERED = "it was altered or is no column of a Dopamine replay buffer: copy it again"
