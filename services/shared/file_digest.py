"""The digest of a file's content, for files of any size."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK_BYTES = 2**20


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; reads 1 MiB at a time.

    Raises:
        OSError: it cannot be read.
    """
    # `hashlib.file_digest` is new in Python 3.11.
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
