"""A URL becomes a verified file, whatever happens on the way.

    connection lost          wait, and resume at the byte reached (HTTP Range)
    process killed           the next call resumes: the bytes are in `NAME.<key>.part`
    another object           has another key, and begins from the start
    more bytes than wanted   cut off at the wanted size; the checksum decides
    fewer bytes than wanted  as a lost connection
    wrong checksum           the part is removed, UserError

The final name appears when all bytes are on the disk and their checksums are right.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rrl_agents.durable_files import flush
from services.library.fetch.checksums import CHUNK_BYTES, Checksums, checksums_of
from services.library.fetch.http import Http, Interrupted, NotFound
from services.shared.errors import UserError

_GAIN_BYTES = 1 << 16
"""An attempt that brings so much was not in vain. It bounds how often a server is asked, too."""

Report = Callable[[int], None]
"""Takes how many bytes of a file are here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """What a URL gives.

    Attributes:
        url: http or https.
        version: Which version of what is there, as the server names it: a generation, an ETag.
        content: Size, which is never exceeded, and checksums, as far as they are known.
        is_packed: Whether the server stores it gzipped and would unpack it for browsers.
    """

    url: str
    version: str
    content: Checksums
    is_packed: bool = False


def part_of(file: Path, remote: RemoteFile) -> Path:
    """Where the bytes of a file gather; the name says which object they are of."""
    key = hashlib.sha256(repr(remote).encode()).hexdigest()[:16]
    return file.with_name(f"{file.name}.{key}.part")


def download(
    http: Http, remote: RemoteFile, file: Path, report: Report = lambda done: None
) -> None:
    """Download a file, or the rest of it.

    Args:
        http: The connections.
        remote: Where it is, and what it must be.
        file: Its final name, in a directory that exists and that no other process downloads to; an
            older file of that name is replaced at the end.
        report: Takes the bytes that are here.

    Raises:
        UserError: It cannot be had, or is not what was announced; says what to do.
        OSError: The disk refuses.
    """
    part = part_of(file, remote)
    for other in file.parent.glob(f"{glob.escape(file.name)}.*.part"):
        if other != part:
            other.unlink()
    try:
        with part.open("ab") as handle:
            http.retrying(file.name, lambda: _receive(http, remote, handle, report))
    except NotFound as error:
        part.unlink()
        raise UserError(
            f"{file.name}: no longer there, removed or replaced since it was listed; run the same "
            "command again"
        ) from error
    difference = checksums_of(part).difference(remote.content)
    if difference is not None:
        part.unlink()
        raise UserError(
            f"{file.name}: what came has {difference}, so it was removed; run the same command "
            "again. If that ends the same, the store's copy is damaged, or something on the way "
            "changes it"
        )
    flush(part)
    part.replace(file)
    flush(file.parent)


def _receive(http: Http, remote: RemoteFile, handle: BinaryIO, report: Report) -> None:
    """Receive what is missing, as far as one request goes."""
    size, begin = remote.content.size, handle.tell()
    if begin >= size:
        return
    try:
        with http.get(remote.url, first_byte=begin, packed=remote.is_packed) as (first, read):
            if first != begin:
                handle.seek(0)
                handle.truncate()
            while missing := size - handle.tell():
                data = read(min(missing, CHUNK_BYTES))
                if not data:
                    raise Interrupted(f"the answer ended {missing} bytes early")
                handle.write(data)
                # A kill loses what is under way, and nothing that came before.
                handle.flush()
                report(handle.tell())
    except Interrupted as failure:
        failure.gained = handle.tell() >= begin + _GAIN_BYTES
        raise
