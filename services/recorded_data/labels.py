"""A teacher's scores of recorded rows, in their own folder.

    OUT/labels.json     which data, which teacher; written last, so that a folder with it is
    complete OUT/scores.npy      float32 [rows, A]; zeros for rows that are not states, or not
    labelled yet OUT/progress.json   how many rows from the first on are labelled and on disk; their
    digest

Rows are appended in order. `progress.json` is replaced only after its scores are synced, so after
any crash the next process resumes at a row whose predecessors are complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.durable_files import write_whole
from rrl_agents.ranges import check_ranges
from rrl_agents.typed_json import encode
from services.shared.errors import UserError
from services.shared.locks import locked

T = TypeVar("T")

SECONDS_BETWEEN_SYNCS = 2.0
"""The most labelling time that a crash can lose."""

_MANIFEST, _SCORES, _PROGRESS, _LOCK = "labels.json", "scores.npy", "progress.json", ".labels.lock"
_MOST_JSON_BYTES = 1 << 16
_CHECKED_AT_ONCE = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelManifest:
    """The data and teacher of labels; labels with another manifest are not continued.

    Attributes:
        data_fingerprint: `RecordedRows.fingerprint`.
        rows: Rows of the data.
        num_actions: Number of actions A.
        teacher: Name of the teacher.
        teacher_version: Content hash of its parameters.
        output: Kind of scores, "q_values" or "logits".
        temperature: Divides logits before the softmax; None for Q-values.
    """

    data_fingerprint: str
    rows: int
    num_actions: int
    teacher: str
    teacher_version: str
    output: str = "q_values"
    temperature: float | None = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        check_ranges(self, "rows", "num_actions", least=1)


@dataclasses.dataclass(frozen=True)
class _Progress:
    rows: int
    scores_sha256: str


class Labels:
    """The labels of one recording by one teacher, for one process; a context manager.

    Attributes:
        directory: Their folder.
        manifest: Their data and teacher.
        rows_done: Rows from the first on that are labelled, synced or not.
    """

    def __init__(self, directory: Path, manifest: LabelManifest) -> None:
        """Open labels, or create them.

        Args:
            directory: Their folder; created if missing.
            manifest: The required data and teacher.

        Raises:
            UserError: The folder holds something else, is damaged, cannot be written, lacks disk
                space, or is used by another process.
        """
        self.directory = directory
        self.manifest = manifest
        self._row_bytes = 4 * manifest.num_actions
        with contextlib.ExitStack() as stack:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(directory / _LOCK))
                if not (directory / _MANIFEST).exists():
                    self._make()
                self._file = stack.enter_context((directory / _SCORES).open("r+b", buffering=0))
            except OSError as error:
                raise UserError(f"{directory}: cannot hold labels ({error.strerror})") from error
            self._check_manifest()
            self._begin = self._check_header()
            progress = self._read_progress()
            self.rows_done = self._synced = progress.rows
            self._digest = self._check_scores(progress)
            self._synced_at = time.monotonic()
            self._open = stack.pop_all()

    def __enter__(self) -> Labels:
        """The labels themselves."""
        return self

    def __exit__(self, *error: object) -> None:
        """Sync and close."""
        self.close()

    def append(self, scores: NDArray[np.float32]) -> None:
        """Label the next rows.

        Args:
            scores: float32 [R, A], for the rows from `rows_done` on, at most as many as remain.

        Raises:
            UserError: The disk is full or failing.
        """
        left = content = scores.astype("<f4", copy=False).tobytes()
        with self._writing():
            self._file.seek(self._begin + self.rows_done * self._row_bytes)
            while left:
                # A full disk accepts a part; the next write raises the error.
                left = left[self._file.write(left) :]
            self._digest.update(content)
            self.rows_done += len(scores)
            if time.monotonic() - self._synced_at >= SECONDS_BETWEEN_SYNCS:
                self._sync()

    def read(self, first_row: int, rows: int) -> NDArray[np.float32]:
        """Scores of labelled rows: float32 [rows, A]."""
        self._file.seek(self._begin + first_row * self._row_bytes)
        scores: NDArray[np.float32] = np.frombuffer(
            self._file.read(rows * self._row_bytes), "<f4"
        ).reshape(rows, -1)
        return scores

    def close(self) -> None:
        """Sync and close; a second call does nothing.

        Raises:
            UserError: The disk is full or failing.
        """
        with self._open.pop_all(), self._writing():
            if not self._file.closed:
                self._sync()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.directory}: cannot be written ({error.strerror})") from error

    def _sync(self) -> None:
        if self._synced != self.rows_done:
            os.fsync(self._file.fileno())
            self._write_json(_PROGRESS, _Progress(self.rows_done, self._digest.hexdigest()))
            self._synced, self._synced_at = self.rows_done, time.monotonic()

    def _make(self) -> None:
        # A killed process can leave a temporary file of `write_whole`.
        found = {entry.name for entry in self.directory.iterdir() if entry.suffix != ".tmp"}
        foreign = found - {_SCORES, _PROGRESS, _LOCK}
        if foreign:
            raise UserError(
                f"{self.directory} holds {min(foreign)} and no labels; choose a folder of its own"
            )
        with (self.directory / _SCORES).open("wb") as file:
            file.write(_header(self.manifest))
            file.flush()
            # Fail now, not after hours, if the disk is too small.
            size = self.manifest.rows * self._row_bytes
            os.posix_fallocate(file.fileno(), file.tell(), size)
            os.fsync(file.fileno())
        self._write_json(_PROGRESS, _Progress(0, hashlib.sha256().hexdigest()))
        self._write_json(_MANIFEST, self.manifest)

    def _write_json(self, name: str, content: LabelManifest | _Progress) -> None:
        write_whole(self.directory / name, seal(encode(content), indent=1))

    def _check_manifest(self) -> None:
        """Compare the folder's manifest with the required one.

        Raises:
            UserError: It differs, or is damaged.
        """
        found = read_manifest(self.directory)
        for field in dataclasses.fields(LabelManifest):
            there, wanted = getattr(found, field.name), getattr(self.manifest, field.name)
            if there != wanted:
                raise _other(self.directory, field.name.replace("_", " "), there, wanted)

    def _check_header(self) -> int:
        """The offset of the scores in their file.

        Raises:
            UserError: It is not a NumPy file with this many scores.
        """
        header = _header(self.manifest)
        size = len(header) + self.manifest.rows * self._row_bytes
        if os.fstat(self._file.fileno()).st_size != size or self._file.read(len(header)) != header:
            raise UserError(f"{self.directory / _SCORES}: {_DAMAGED}")
        return len(header)

    def _read_progress(self) -> _Progress:
        path = self.directory / _PROGRESS
        progress = _read(_Progress, path)
        if not 0 <= progress.rows <= self.manifest.rows:
            raise UserError(f"{path}: {progress.rows} rows; {_DAMAGED}")
        return progress

    def _check_scores(self, progress: _Progress) -> hashlib._Hash:
        """The digest of the finished rows, to be continued; a million rows of 18 actions are 72 MB.

        Raises:
            UserError: The scores differ from those written.
        """
        digest, size = hashlib.sha256(), progress.rows * self._row_bytes
        for start in range(0, size, _CHECKED_AT_ONCE):
            digest.update(self._file.read(min(_CHECKED_AT_ONCE, size - start)))
        if digest.hexdigest() != progress.scores_sha256:
            raise UserError(f"{self.directory / _SCORES}: {_DAMAGED}")
        return digest


def _header(manifest: LabelManifest) -> bytes:
    """The header of a NumPy file with this many scores."""
    stream, shape = io.BytesIO(), (manifest.rows, manifest.num_actions)
    np.lib.format.write_array_header_1_0(  # type: ignore[no-untyped-call]
        stream, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def read_manifest(directory: Path) -> LabelManifest:
    """The manifest of a folder's labels.

    Raises:
        UserError: It is missing or damaged.
    """
    return _read(LabelManifest, directory / _MANIFEST)


def check_labels(directory: Path, *, data_fingerprint: str, teacher_sha256: str) -> None:
    """Check early whether labels can be continued; a folder without labels passes.

    Args:
        directory: Their folder.
        data_fingerprint: Fingerprint of the required data.
        teacher_sha256: Digest of the required teacher's parameters.

    Raises:
        UserError: They differ, or are damaged.
    """
    if not (directory / _MANIFEST).exists():
        return
    found = read_manifest(directory)
    if found.data_fingerprint != data_fingerprint:
        raise _other(directory, "data", found.data_fingerprint[:16], data_fingerprint[:16])
    if not teacher_sha256.startswith(found.teacher_version):
        raise _other(
            directory,
            "teacher",
            f"{found.teacher} ({found.teacher_version})",
            f"the one with {teacher_sha256[:16]}",
        )


def _other(directory: Path, field: str, there: object, wanted: object) -> UserError:
    return UserError(
        f"{directory} holds labels of another {field}: {there}, not {wanted}; choose another "
        "folder, or remove this one"
    )


def _read(kind: type[T], path: Path) -> T:
    try:
        content = read_bounded(path, _MOST_JSON_BYTES, what="a file of labels")
        return decode_sealed(kind, content.decode(), str(path))
    except ValueError as error:
        raise UserError(f"{path}: cannot be read ({error}); {_DAMAGED}") from error


_DAMAGED = "these labels are damaged: remove the folder and label again"
