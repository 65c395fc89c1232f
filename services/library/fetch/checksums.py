"""The checksums that a Google Cloud Storage bucket keeps of an object: CRC32C, and often MD5.

An object that was put together from parts has no MD5. Both are written in lower-case hex here.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import google_crc32c

CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checksums:
    """Size and digests of a file's bytes.

    Attributes:
        size: Bytes.
        crc32c: 8 hex digits, None where unknown.
        md5: 32 hex digits, None where unknown.
    """

    size: int
    crc32c: str | None
    md5: str | None

    def __post_init__(self) -> None:
        """Refuse a size below zero."""
        if self.size < 0:
            raise ValueError(f"a size of {self.size} bytes; it must be at least 0")

    def difference(self, wanted: Checksums) -> str | None:
        """What differs from what is wanted, as words for a message; None where nothing does.

        Digests that `wanted` lacks are not compared.
        """
        if self.size != wanted.size:
            return f"{self.size} bytes instead of {wanted.size}"
        for name in ("crc32c", "md5"):
            found, needed = getattr(self, name), getattr(wanted, name)
            if needed not in (None, found):
                return f"{name} {found} instead of {needed}"
        return None


def checksums_of(file: Path) -> Checksums:
    """Read a file to its end.

    Raises:
        OSError: It cannot be read.
    """
    size, md5 = 0, hashlib.md5(usedforsecurity=False)
    crc32c = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with file.open("rb") as handle:
        while data := handle.read(CHUNK_BYTES):
            size += len(data)
            md5.update(data)
            crc32c.update(data)  # type: ignore[no-untyped-call]
    digest = crc32c.digest().hex()  # type: ignore[no-untyped-call]
    return Checksums(size=size, crc32c=digest, md5=md5.hexdigest())
