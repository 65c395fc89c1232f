"""Downloads a URL to a verified file, across interruptions.

    connection lost          wait, and resume at the byte reached (HTTP Range)
    process killed           the next call resumes from `NAME.<key>.part`
    another object           has another key, and starts from the beginning
    more bytes than wanted   truncated at the expected size; the checksum decides
    fewer bytes than wanted  like a lost connection
    wrong checksum           the part is deleted, UserError

The file gets its final name when all bytes are on disk and their checksums match.
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

import google_crc32c

from rrl_agents.durable_files import rename_whole
from services.library.fetch.http_retries import Http, Interrupted, NotFound, read
from services.library.fetch.progress import WorkProgress, binary_size
from services.shared.errors import UserError

CHUNK_BYTES = 1 << 20

_LOGGER = logging.getLogger(__name__)
_SPARE_DISK_BYTES = 64 << 20
_GAIN_BYTES = 1 << 16
"""An attempt with this much data counts as progress, which also limits the number of requests."""

_MATCHES_NO_VERSION = '"none"'
"""Makes every resumption start over, if a server does not distinguish versions."""

Report = Callable[[int], None]
"""Receives the number of bytes of a file that are present."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checksums:
    """Size of a file, and the digests that Google Cloud Storage has for it.

    Attributes:
        size: Bytes.
        crc32c: 8 hex digits, None where unknown.
        md5: 32 hex digits, None where unknown: composite objects have none.
    """

    size: int
    crc32c: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        """Refuse a size below zero."""
        if self.size < 0:
            raise ValueError(f"a size of {self.size} bytes; it must be at least 0")

    def difference(self, wanted: Checksums) -> str | None:
        """How it differs from the expected checksums, for a message; None if it does not.

        Digests that `wanted` lacks are not compared.
        """
        for name in ("size", "crc32c", "md5"):
            found, needed = getattr(self, name), getattr(wanted, name)
            if needed not in (None, found):
                return f"{name} {found} instead of {needed}"
        return None


def checksums_of(file: Path) -> Checksums:
    """Read a file to its end.

    Raises:
        OSError: It cannot be read.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    crc32c = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with file.open("rb") as handle:
        while data := handle.read(CHUNK_BYTES):
            md5.update(data)
            crc32c.update(data)  # type: ignore[no-untyped-call]
        size = handle.tell()
    digest = crc32c.digest().hex()  # type: ignore[no-untyped-call]
    return Checksums(size=size, crc32c=digest, md5=md5.hexdigest())


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A remote file.

    Attributes:
        url: http or https.
        content: Size, which is never exceeded, and checksums, as far as known.
        generation: Version of the object; "" if it may change.
        validator: ETag or date that distinguishes versions of a URL that may change.
        is_packed: Whether the server stores it gzipped and would decompress it for browsers.
    """

    url: str
    content: Checksums
    generation: str = ""
    validator: str | None = None
    is_packed: bool = False


Files = Mapping[str, RemoteFile]
"""Remote files by their names on disk, which we choose or match against a pattern."""


def web_file(url: str, headers: Mapping[str, str]) -> RemoteFile:
    """The remote file that a response's headers describe.

    Raises:
        UserError: They do not contain a size.
    """
    size, etag = headers.get("Content-Length", ""), headers.get("ETag", "")
    if re.fullmatch("[0-9]{1,18}", size) is None:
        raise UserError(
            f"{url}: the server does not say its size, so that nothing could bound it; download it "
            "with another tool, and give its path"
        )
    date = headers.get("Last-Modified", _MATCHES_NO_VERSION)
    return RemoteFile(
        url=url,
        content=Checksums(size=int(size)),
        # A weak ETag, W/"...", does not promise the same bytes.
        validator=etag if etag.startswith('"') else date,
        is_packed=headers.get("Content-Encoding", "identity") != "identity",
    )


def check_bounds(files: Files, limit: int, advice: str) -> None:
    """Refuse compressed or too large files, before writing to disk.

    Args:
        files: The files to download.
        limit: Most bytes in total.
        advice: Advice for the error if they are larger.

    Raises:
        UserError: A file is refused; says why.
    """
    for name, remote in files.items():
        # Dopamine compresses its data itself.
        if remote.is_packed and not name.endswith(".gz"):
            raise UserError(
                f"{name} is stored compressed: the store holds it gzipped. Download it with "
                "another tool, unpack it, and give its path"
            )
    if (total := total_size(files)) > limit:
        raise UserError(
            f"{len(files)} files of {binary_size(total)} together, the limit is "
            f"{binary_size(limit)}; {advice}"
        )


def download_missing(
    http: Http,
    files: Files,
    folder: Path,
    progress: WorkProgress,
    verified: Files | None = None,
) -> int:
    """Download or complete the files that are missing in a folder, one after another.

    Args:
        http: The connections.
        files: The files to download.
        folder: An existing folder to which no other process downloads.
        progress: Shows the downloads.
        verified: Files already verified, as they were then; others are read and compared.

    Returns:
        The number of missing files.

    Raises:
        UserError: A file is unavailable, differs from what was announced, or does not fit on the
            disk.
        OSError: Writing fails.
    """
    verified = verified or {}
    missing = [name for name in files if not _is_here(folder / name, files[name], verified)]
    parts = {name: _part_of(folder / name, files[name]) for name in missing}
    here = {name: part.stat().st_size if part.is_file() else 0 for name, part in parts.items()}
    needed = sum(files[name].content.size - here[name] for name in missing)
    free = shutil.disk_usage(folder).free
    if missing and free < needed + _SPARE_DISK_BYTES:
        raise UserError(
            f"{folder}: {binary_size(free)} free, {binary_size(needed)} to download; make room, or "
            "give another folder by --cache or RRL_CACHE"
        )
    for index, name in enumerate(missing, start=1):
        label = f"{index}/{len(missing)} {name}"
        report = progress.begin(label, files[name].content.size, here[name])
        _download(http, files[name], folder / name, parts[name], report)
    return len(missing)


def has_size(file: Path, content: Checksums) -> bool:
    """Whether a file exists with the expected size."""
    return file.is_file() and file.stat().st_size == content.size


def total_size(files: Files) -> int:
    """Total bytes of the files."""
    return sum(remote.content.size for remote in files.values())


def _part_of(file: Path, remote: RemoteFile) -> Path:
    """Path of a partial file; its name identifies the object."""
    key = hashlib.sha256(repr(remote).encode()).hexdigest()[:16]
    return file.with_name(f"{file.name}.{key}.part")


def _is_here(file: Path, remote: RemoteFile, verified: Files) -> bool:
    if not has_size(file, remote.content):
        return False
    if verified.get(file.name) == remote:
        return True
    difference = checksums_of(file).difference(remote.content)
    if difference is not None:
        _LOGGER.warning("%s: here with %s; downloading it again", file.name, difference)
    return difference is None


def _download(http: Http, remote: RemoteFile, file: Path, part: Path, report: Report) -> None:
    for other in file.parent.glob(f"{glob.escape(file.name)}.*.part"):
        if other != part:
            other.unlink()
    try:
        with part.open("ab") as handle:
            http.retrying(file.name, lambda: _receive(http, remote, handle, report))
    except NotFound as error:
        part.unlink()
        raise UserError(
            f"{file.name}: it was removed or replaced since it was listed; run the same "
            "command again"
        ) from error
    difference = checksums_of(part).difference(remote.content)
    if difference is not None:
        part.unlink()
        raise UserError(
            f"{file.name}: the download has {difference}, so it was deleted; run the same "
            "command again. If it fails again, the store's copy is damaged, or something on the "
            "way changes it"
        )
    rename_whole(part, file)


def _receive(http: Http, remote: RemoteFile, handle: BinaryIO, report: Report) -> None:
    """Receive missing bytes with one request."""
    size, begin = remote.content.size, handle.tell()
    if begin >= size:
        return
    headers = {"Accept-Encoding": "gzip"} if remote.is_packed else {}
    if begin and remote.validator is not None:
        # The answer for another version starts at 0.
        headers["If-Range"] = remote.validator
    try:
        with http.get(remote.url, first_byte=begin, headers=headers) as response:
            if response.status_code == 200:
                if remote.validator and web_file(remote.url, response.headers) != remote:
                    raise NotFound
                handle.seek(0)
                handle.truncate()
            while missing := size - handle.tell():
                data = read(response, min(missing, CHUNK_BYTES))
                if not data:
                    raise Interrupted(f"the answer ended {missing} bytes early")
                handle.write(data)
                # A crash loses only the bytes in flight.
                handle.flush()
                report(handle.tell())
    except Interrupted as failure:
        failure.gained = handle.tell() >= begin + _GAIN_BYTES
        raise
