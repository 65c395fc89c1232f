"""The files of one checkpoint into a directory: what is here stays, the rest is downloaded."""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from pathlib import Path

from services.library.fetch.bucket import Bucket
from services.library.fetch.checkpoints import RemoteCheckpoint, RemoteFile
from services.library.fetch.checksums import checksums_of
from services.library.fetch.download import download
from services.library.fetch.partial_file import part_of
from services.library.fetch.progress import FetchProgress, FileInHand, binary_size
from services.library.fetch.source import FetchedCheckpoint, FetchedFile
from services.shared.errors import UserError

_SPARE_DISK_BYTES = 64 << 20


class Downloads:
    """Downloads checkpoints into one directory, which the caller has locked."""

    def __init__(self, bucket: Bucket, directory: Path, progress: FetchProgress) -> None:
        """Download nothing yet.

        Args:
            bucket: Where files come from.
            directory: Where they go; it exists.
            progress: Told what happens.
        """
        self.downloaded = 0
        """Files that were not here."""
        self._bucket = bucket
        self._directory = directory
        self._progress = progress

    def missing(
        self,
        files: tuple[RemoteFile, ...],
        known: FetchedCheckpoint | None,
        *,
        verify: bool,
    ) -> list[RemoteFile]:
        """The files that are not here, or not what the store has.

        Args:
            files: All that are wanted.
            known: What was verified when it came; other files are read and compared.
            verify: Read and compare those, too.
        """
        contents = {} if known is None or verify else {f.name: f.content for f in known.files}
        return [
            file
            for file in files
            if not self._has_size(file)
            or (contents.get(file.name) != file.stored.content and self._is_other(file))
        ]

    def download(
        self, remote: RemoteCheckpoint, missing: list[RemoteFile], *, with_replay: bool
    ) -> FetchedCheckpoint:
        """Download what is missing.

        Args:
            remote: The checkpoint.
            missing: Those of its files that are not here.
            with_replay: Whether its data belongs to it.

        Returns:
            The checkpoint's record: all of it is here and verified.

        Raises:
            UserError: No room, or a download failed; says what to do.
            OSError: The disk refuses.
        """
        self._check_disk(missing)
        records = {file.name: _record(file) for file in remote.files(with_replay=with_replay)}
        for index, file in enumerate(missing, start=1):
            self._progress.begin(
                FileInHand(name=file.name, index=index, count=len(missing), size=file.size)
            )
            stored = download(
                self._bucket, file.stored, self._directory / file.name, self._progress
            )
            records[file.name] = _record(RemoteFile(name=file.name, stored=stored))
            self.downloaded += 1
        return FetchedCheckpoint(
            number=remote.number,
            has_replay=with_replay,
            fetched_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            endpoint=self._bucket.endpoint,
            files=tuple(records.values()),
        )

    def _has_size(self, file: RemoteFile) -> bool:
        path = self._directory / file.name
        return path.is_file() and path.stat().st_size == file.size

    def _is_other(self, file: RemoteFile) -> bool:
        difference = checksums_of(self._directory / file.name).difference(file.stored.content)
        if difference is not None:
            self._progress.tell(f"{file.name}: here with {difference}; downloading it again")
        return difference is not None

    def _check_disk(self, missing: list[RemoteFile]) -> None:
        parts = (part_of(self._directory / file.name) for file in missing)
        here = sum(part.stat().st_size for part in parts if part.is_file())
        needed = sum(file.size for file in missing) - here
        free = shutil.disk_usage(self._directory).free
        if missing and free < needed + _SPARE_DISK_BYTES:
            raise UserError(
                f"{self._directory}: {binary_size(free)} free, {binary_size(needed)} to download; "
                "make room, or give another --cache"
            )


def _record(file: RemoteFile) -> FetchedFile:
    stored = file.stored
    return FetchedFile(name=file.name, generation=stored.generation, content=stored.content)
