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


@pytest.fixture
def check(tmp_path: Path) -> Checksums:
    (tmp_path / "check").write_bytes(b"123456789")
    return checksums_of(tmp_path / "check")


def test_the_checksums_are_those_of_the_standards(tmp_path: Path, check: Checksums) -> None:
    assert (check.size, check.crc32c) == (9, CHECK_CRC32C)
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert checksums_of(file) == Checksums(size=0, crc32c="00000000", md5=EMPTY_MD5)
    file.write_bytes(bytes(32))
    assert checksums_of(file).crc32c == ZEROS_CRC32C


def test_a_file_of_several_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    content = bytes(2 * CHUNK_BYTES) + b"end"
    (tmp_path / "file").write_bytes(content)
    assert checksums_of(tmp_path / "file") == Checksums(
        size=len(content),
        crc32c=google_crc32c.Checksum(content).digest().hex(),
        md5=hashlib.md5(content).hexdigest(),
    )


def test_what_differs_is_named(check: Checksums) -> None:
    assert check.difference(check) is None
    # What the store does not say is not compared.
    assert check.difference(dataclasses.replace(check, md5=None)) is None
    assert check.difference(dataclasses.replace(check, size=8)) == "size 9 instead of 8"
    other = dataclasses.replace(check, crc32c=ZEROS_CRC32C)
    assert check.difference(other) == f"crc32c {CHECK_CRC32C} instead of {ZEROS_CRC32C}"
    assert "md5" in str(check.difference(dataclasses.replace(check, md5=EMPTY_MD5)))


def test_a_size_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 0"):
        Checksums(size=-1, crc32c=None, md5=None)
