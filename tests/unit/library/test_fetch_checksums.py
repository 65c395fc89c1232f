from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import google_crc32c
import pytest

from services.library.fetch.download import CHUNK_BYTES, Checksums, checksums_of

# RFC 3720, B.4: 32 bytes of zeros; the check value of CRC-32C, of "123456789"; RFC 1321, A.5.
ZEROS_CRC32C = "8a9136aa"
CHECK_CRC32C = "e3069283"
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
LONG = bytes(2 * CHUNK_BYTES) + b"end"


@pytest.mark.parametrize(
    ("content", "crc32c", "md5"),
    [
        (b"123456789", CHECK_CRC32C, None),
        (b"", "00000000", EMPTY_MD5),
        (bytes(32), ZEROS_CRC32C, None),
        (LONG, google_crc32c.Checksum(LONG).digest().hex(), hashlib.md5(LONG).hexdigest()),
    ],
)
def test_the_checksums_are_those_of_the_standards(
    tmp_path: Path, content: bytes, crc32c: str, md5: str | None
) -> None:
    (tmp_path / "file").write_bytes(content)
    found = checksums_of(tmp_path / "file")
    assert found == Checksums(size=len(content), crc32c=crc32c, md5=md5 or found.md5)


def test_what_differs_is_named() -> None:
    check = Checksums(size=9, crc32c=CHECK_CRC32C, md5="25f9e794323b453885f5181f1b624d0b")
    for change, difference in (
        ({}, None),
        # What the store does not say is not compared.
        ({"md5": None}, None),
        ({"size": 8}, "size 9 instead of 8"),
        ({"crc32c": ZEROS_CRC32C}, f"crc32c {CHECK_CRC32C} instead of {ZEROS_CRC32C}"),
        ({"md5": EMPTY_MD5}, f"md5 {check.md5} instead of {EMPTY_MD5}"),
    ):
        assert check.difference(dataclasses.replace(check, **change)) == difference
    with pytest.raises(ValueError, match="must be at least 0"):
        Checksums(size=-1)
