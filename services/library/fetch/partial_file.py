"""A file on its way: `NAME.part`, with `NAME.part.json` that says which object it is a part of.

The final name appears when all bytes are here and their checksums are those of the store, so
whatever has it is whole. A part is taken up again if the object is still the same one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path

from rrl_agents.durable_files import flush
from services.library.fetch.bucket import StoredObject
from services.library.fetch.checksums import RunningChecksums, checksums_of
from services.shared.errors import UserError

_MAX_NOTE_BYTES = 1 << 16


def part_of(file: Path) -> Path:
    """Where the bytes of a file gather."""
    return file.with_name(f"{file.name}.part")


class PartialFile:
    """The part of one object."""

    def __init__(self, file: Path, stored: StoredObject) -> None:
        """Take up what an earlier download left, or begin.

        Args:
            file: The final name, in a directory that exists.
            stored: The object.

        Raises:
            OSError: The disk refuses.
        """
        self._file = file
        self._stored = stored
        self._part = part_of(file)
        self._note = file.with_name(f"{file.name}.part.json")
        self._sums = self._taken_up() or self._begun()
        self._handle = self._part.open("ab")

    @property
    def size(self) -> int:
        """Bytes here."""
        return self._sums.size

    @property
    def lacking(self) -> int:
        """Bytes to come."""
        return self._stored.content.size - self._sums.size

    def append(self, data: bytes) -> None:
        """Put in the bytes that come next, at most as many as lack."""
        assert len(data) <= self.lacking
        self._handle.write(data)
        self._sums.update(data)

    def restart(self) -> None:
        """Forget all bytes."""
        self._handle.truncate(0)
        self._sums = RunningChecksums()

    def finish(self) -> None:
        """Give the file its final name.

        Raises:
            UserError: It is not what the store announced; the part is gone then.
        """
        difference = self._sums.difference(self._stored.content)
        if difference is not None:
            self.discard()
            raise UserError(
                f"{self._file.name}: what came has {difference}, so it was removed; run the same "
                "command again. If that ends the same, the store's copy is damaged, or something "
                "on the way changes it"
            )
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._part.replace(self._file)
        flush(self._file.parent)
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove it."""
        self._note.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it on the disk as it is."""
        self._handle.close()

    def _taken_up(self) -> RunningChecksums | None:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            with self._note.open("rb") as note:
                same = json.loads(note.read(_MAX_NOTE_BYTES)) == self._expected_note()
            if same and self._part.stat().st_size <= self._stored.content.size:
                return checksums_of(self._part)
        return None

    def _begun(self) -> RunningChecksums:
        self.discard()
        self._note.write_text(json.dumps(self._expected_note()), encoding="utf-8")
        return RunningChecksums()

    def _expected_note(self) -> dict[str, object]:
        return dataclasses.asdict(self._stored)
