"""One object of a bucket becomes a verified file, through lost connections and busy stores.

connection lost, 5xx    wait, go on from the byte reached (HTTP Range)
object replaced         begin again with the new generation
more bytes than told    cut off at the announced size; the checksum decides
fewer bytes than told   as a lost connection
wrong checksum          removed, UserError
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from services.library.fetch.bucket import Bucket, StoredObject
from services.library.fetch.checksums import CHUNK_BYTES
from services.library.fetch.http import NotThere
from services.library.fetch.partial_file import PartialFile
from services.library.fetch.progress import FetchProgress
from services.library.fetch.retries import Interrupted
from services.shared.errors import UserError

_GAIN_BYTES = 1 << 16
"""An attempt that brought so much was none in vain. It bounds how often a store is asked, too."""

_MAX_GENERATIONS = 4
"""An object that is replaced more often during one download is given up."""


def download(
    bucket: Bucket, stored: StoredObject, file: Path, progress: FetchProgress
) -> StoredObject:
    """Download an object.

    Args:
        bucket: Where it is.
        stored: The object.
        file: Its final name, in a directory that exists; an older file is replaced at the end.
        progress: Told the bytes that are here.

    Returns:
        The object that the file is now: another generation where it was replaced meanwhile.

    Raises:
        UserError: It can't be had, or is not what the store announced; says what to do.
        OSError: The disk refuses.
    """
    for _ in range(_MAX_GENERATIONS):
        with contextlib.closing(PartialFile(file, stored)) as part:
            progress.start(part.size)
            try:
                _receive(bucket, stored, part, progress)
            except NotThere:
                part.discard()
            else:
                part.finish()
                return stored
        progress.tell(f"{file.name}: replaced in the store meanwhile; beginning again")
        stored = bucket.stat(stored.name)
    raise UserError(
        f"{file.name}: the store replaces it all the time, or tells of what it does not have; try "
        "again later"
    )


def _receive(
    bucket: Bucket,
    stored: StoredObject,
    part: PartialFile,
    progress: FetchProgress,
) -> None:
    farthest = part.size
    while part.lacking:
        try:
            _stream(bucket, stored, part, progress)
        except Interrupted as failure:
            if part.size >= farthest + _GAIN_BYTES:
                bucket.patience.renew()
            farthest = max(farthest, part.size)
            bucket.patience.bear(failure, stored.name)
    bucket.patience.renew()


def _stream(
    bucket: Bucket, stored: StoredObject, part: PartialFile, progress: FetchProgress
) -> None:
    """One request, as far as it goes."""
    with bucket.open(stored, part.size) as reply:
        if reply.generation not in (None, stored.generation):
            raise NotThere
        if reply.first_byte != part.size:
            part.restart()
            progress.start(0)
        while part.lacking:
            data = reply.read(min(part.lacking, CHUNK_BYTES))
            if not data:
                raise Interrupted(f"the answer ended {part.lacking} bytes early")
            part.append(data)
            progress.at(part.size)
