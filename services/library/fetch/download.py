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
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from rrl_agents.durable_files import flush
from services.library.fetch.checksums import CHUNK_BYTES, Checksums, checksums_of
from services.library.fetch.http import Http, Interrupted, NotFound
from services.library.fetch.progress import WorkProgress, binary_size
from services.shared.errors import UserError

_LOGGER = logging.getLogger(__name__)
_SPARE_DISK_BYTES = 64 << 20
_GAIN_BYTES = 1 << 16
"""An attempt that brings so much was not in vain. It bounds how often a server is asked, too."""

_MATCHES_NO_VERSION = '"none"'
"""Has every resumption start over, where a server tells no versions apart."""

Report = Callable[[int], None]
"""Takes how many bytes of a file are here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """What a URL gives.

    Attributes:
        url: http or https.
        content: Size, which is never exceeded, and checksums, as far as they are known.
        generation: Which version of the object the URL is of; "" for one that may change.
        validator: ETag or date that tells versions of a URL that may change apart.
        is_packed: Whether the server stores it gzipped and would unpack it for browsers.
    """

    url: str
    content: Checksums
    generation: str = ""
    validator: str | None = None
    is_packed: bool = False


Files = Mapping[str, RemoteFile]
"""Remote files by their names on disk, which are chosen by us or matched against a pattern."""


def web_file(url: str, headers: Mapping[str, str]) -> RemoteFile | None:
    """What a URL gives by the headers of its answer; None where they do not announce a size."""
    size, etag = headers.get("Content-Length", ""), headers.get("ETag", "")
    if re.fullmatch("[0-9]{1,18}", size) is None:
        return None
    date = headers.get("Last-Modified", _MATCHES_NO_VERSION)
    return RemoteFile(
        url=url,
        content=Checksums(size=int(size), crc32c=None, md5=None),
        # A weak ETag, W/"...", does not promise the same bytes.
        is_packed=headers.get("Content-Encoding", "identity") != "identity",
        validator=etag if etag.startswith('"') else date,
    )


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


def download_all(http: Http, files: Files, folder: Path, progress: WorkProgress) -> None:
    """Download files, or the rest of them, one after another.

    Args:
        http: The connections.
        files: What.
        folder: Where to; it exists, and no other process downloads to it.
        progress: Shows them.

    Raises:
        UserError: As `download`; or there is no room for them.
        OSError: The disk refuses.
    """
    parts = [part_of(folder / name, files[name]) for name in files]
    here = [part.stat().st_size if part.is_file() else 0 for part in parts]
    needed, free = total_size(files) - sum(here), shutil.disk_usage(folder).free
    if files and free < needed + _SPARE_DISK_BYTES:
        raise UserError(
            f"{folder}: {binary_size(free)} free, {binary_size(needed)} to download; make room, or "
            "give another folder by --cache or RRL_CACHE"
        )
    for index, (name, remote) in enumerate(files.items()):
        label = f"{index + 1}/{len(files)} {name}"
        report = progress.begin(label, remote.content.size, here[index])
        download(http, remote, folder / name, report)


def missing_files(folder: Path, files: Files, verified: Mapping[str, Checksums]) -> Files:
    """The files that are not in a folder, or are others there.

    Args:
        folder: Where they should be.
        files: All that are wanted.
        verified: What is known of files there; those of which it is not are read and compared.
    """
    missing = {}
    for name, remote in files.items():
        if not has_size(folder / name, remote.content):
            missing[name] = remote
        elif verified.get(name) != remote.content:
            found = checksums_of(folder / name).difference(remote.content)
            if found is not None:
                _LOGGER.warning("%s: here with %s; downloading it again", name, found)
                missing[name] = remote
    return missing


def has_size(file: Path, content: Checksums) -> bool:
    """Whether a file is there and as long as it should be."""
    return file.is_file() and file.stat().st_size == content.size


def total_size(files: Files) -> int:
    """Bytes of all files together."""
    return sum(remote.content.size for remote in files.values())


def _receive(http: Http, remote: RemoteFile, handle: BinaryIO, report: Report) -> None:
    """Receive what is missing, as far as one request goes."""
    size, begin = remote.content.size, handle.tell()
    if begin >= size:
        return
    try:
        with http.get(
            remote.url, first_byte=begin, validator=remote.validator, packed=remote.is_packed
        ) as reply:
            is_web = remote.validator is not None and reply.first_byte == 0
            if is_web and web_file(remote.url, reply.headers) != remote:
                raise NotFound
            if reply.first_byte != begin:
                handle.seek(0)
                handle.truncate()
            while missing := size - handle.tell():
                data = reply.read(min(missing, CHUNK_BYTES))
                if not data:
                    raise Interrupted(f"the answer ended {missing} bytes early")
                handle.write(data)
                # A kill loses what is under way, and nothing that came before.
                handle.flush()
                report(handle.tell())
    except Interrupted as failure:
        failure.gained = handle.tell() >= begin + _GAIN_BYTES
        raise
