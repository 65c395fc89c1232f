from __future__ import annotations

import base64
import dataclasses
import hashlib
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.library.fetch.checksums import (
    Checksums,
    RunningChecksums,
    checksums_of,
    digest_from_base64,
)

# RFC 3720, B.4: 32 bytes of zeros; and the check value of CRC-32C, of "123456789".
ZEROS_CRC32C = "8a9136aa"
CHECK_CRC32C = "e3069283"
# RFC 1321, A.5.
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def test_the_checksums_are_those_of_the_standards() -> None:
    running = RunningChecksums()
    assert running.value() == Checksums(size=0, crc32c="00000000", md5=EMPTY_MD5)
    running.update(b"123456789")
    assert running.value().crc32c == CHECK_CRC32C
    zeros = RunningChecksums()
    zeros.update(bytes(32))
    assert zeros.value().crc32c == ZEROS_CRC32C


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_pieces_have_the_checksums_of_the_whole(pieces: list[bytes]) -> None:
    running = RunningChecksums()
    for piece in pieces:
        running.update(piece)
    whole = b"".join(pieces)
    assert running.value() == Checksums(
        size=len(whole),
        crc32c=google_crc32c.Checksum(whole).digest().hex(),
        md5=hashlib.md5(whole).hexdigest(),
    )


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    content = bytes(3 << 20) + b"end"
    (tmp_path / "file").write_bytes(content)
    value = checksums_of(tmp_path / "file").value()
    assert (value.size, value.md5) == (len(content), hashlib.md5(content).hexdigest())


def test_what_differs_is_named() -> None:
    running = RunningChecksums()
    running.update(b"123456789")
    right = running.value()
    assert running.difference(right) is None
    # What the store does not tell is not compared.
    assert running.difference(dataclasses.replace(right, md5=None)) is None
    assert running.difference(dataclasses.replace(right, size=8)) == "9 bytes instead of 8"
    other = dataclasses.replace(right, crc32c=ZEROS_CRC32C)
    assert running.difference(other) == f"crc32c {CHECK_CRC32C} instead of {ZEROS_CRC32C}"
    assert "md5" in str(running.difference(dataclasses.replace(right, md5=EMPTY_MD5)))


def test_digests_come_in_base64() -> None:
    text = base64.b64encode(bytes.fromhex(CHECK_CRC32C)).decode()
    assert digest_from_base64(text) == CHECK_CRC32C


@pytest.mark.parametrize("text", ["a", "!!!!", "AAAA\n", "ÄAAA"])
def test_other_text_is_no_digest(text: str) -> None:
    with pytest.raises(ValueError, match="base64|ASCII"):
        digest_from_base64(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": -1},
        {"crc32c": "e306928"},
        {"crc32c": "E3069283"},
        {"md5": CHECK_CRC32C},
        {"md5": "../" + EMPTY_MD5[3:]},
    ],
)
def test_digests_of_another_form_are_refused(fields: dict[str, str | int]) -> None:
    good: dict[str, str | int] = {"size": 1, "crc32c": CHECK_CRC32C, "md5": EMPTY_MD5}
    Checksums(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be"):
        Checksums(**{**good, **fields})  # type: ignore[arg-type]
