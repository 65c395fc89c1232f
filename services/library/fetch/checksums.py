"""The checksums a Google Cloud Storage bucket keeps of every object: CRC32C, and often MD5.

An object that was put together from parts has no MD5. Both stand here as lower-case hex.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
from pathlib import Path

import google_crc32c

CHUNK_BYTES = 1 << 20

_MD5_BYTES = 16
_CRC32C_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checksums:
    """What the bytes of an object must have.

    Attributes:
        size: Bytes.
        crc32c: 8 hex digits, None where not told.
        md5: 32 hex digits, None where not told.
    """

    size: int
    crc32c: str | None
    md5: str | None

    def __post_init__(self) -> None:
        """Refuse a size below zero and digests of another length."""
        if self.size < 0:
            raise ValueError(f"a size of {self.size} bytes; it must be at least 0")
        for name, value, length in (
            ("crc32c", self.crc32c, 2 * _CRC32C_BYTES),
            ("md5", self.md5, 2 * _MD5_BYTES),
        ):
            if value is not None and not _is_hex(value, length):
                raise ValueError(f"{name} is {value[:80]!r}; it must be {length} hex digits")

    @property
    def can_tell(self) -> bool:
        """Whether there is a digest to compare with."""
        return self.crc32c is not None or self.md5 is not None


class RunningChecksums:
    """Size and digests of the bytes seen so far."""

    def __init__(self) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = google_crc32c.Checksum()  # type: ignore[no-untyped-call]

    def update(self, data: bytes) -> None:
        """Take the bytes that come next."""
        self.size += len(data)
        self._md5.update(data)
        self._crc32c.update(data)  # type: ignore[no-untyped-call]

    def value(self) -> Checksums:
        """Size and both digests."""
        crc32c = self._crc32c.digest().hex()  # type: ignore[no-untyped-call]
        return Checksums(size=self.size, crc32c=crc32c, md5=self._md5.hexdigest())

    def difference(self, wanted: Checksums) -> str | None:
        """What differs, as words for a message; None where nothing does."""
        found = self.value()
        if found.size != wanted.size:
            return f"{found.size} bytes instead of {wanted.size}"
        for name in ("crc32c", "md5"):
            has, needs = getattr(found, name), getattr(wanted, name)
            if needs is not None and has != needs:
                return f"{name} {has} instead of {needs}"
        return None


def checksums_of(file: Path) -> RunningChecksums:
    """Read a file.

    Raises:
        OSError: It can't be read.
    """
    running = RunningChecksums()
    with file.open("rb") as handle:
        while data := handle.read(CHUNK_BYTES):
            running.update(data)
    return running


def digest_from_base64(text: str) -> str:
    """The hex of a digest as the JSON API gives it.

    Raises:
        ValueError: It is no base64.
    """
    try:
        return base64.b64decode(text, validate=True).hex()
    except binascii.Error as error:
        raise ValueError(f"{text[:80]!r} is no base64") from error


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and all(character in "0123456789abcdef" for character in text)
