"""Scalars as TensorBoard event files, without TensorFlow.

The `tensorboard` package's own event writer loads TensorFlow where it is installed; its record
writer and protos do not, and are all that a scalar needs.

A writer that resumes opens a new file and starts it with a session mark: TensorBoard then hides
what an earlier process had written behind the step the run went back to.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

_FILE_NAME = re.compile(r"events\.out\.tfevents\.(\d{10,})\.")


class ScalarWriter:
    """Appends scalars to one new event file of a folder; each is on disk when `write` returns.

    Safe for use by one thread.
    """

    def __init__(self, folder: Path, *, resumed_step: int | None = None) -> None:
        """Opens the file.

        Args:
            folder: Where event files lie; made when absent. Older files are left as they are.
            resumed_step: Step of the checkpoint that the run resumes from; scalars of later steps
                in older files are hidden by TensorBoard. None for a fresh run.

        Raises:
            OSError: no space, no permission.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._records = RecordWriter(_open_new_file(folder))
        try:
            self._append(file_version="brain.Event:2")
            if resumed_step is not None:
                # TensorBoard drops steps >= the mark's, and the checkpoint's own is still true.
                mark = SessionLog(status=SessionLog.START)
                self._append(step=resumed_step + 1, session_log=mark)
        except OSError:
            with contextlib.suppress(OSError):
                self.close()
            raise

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds one value per tag.

        Args:
            step: Clock of the run, 0 or more; the same clock in every call.
            scalars: Values by tag, e.g. {"loss/td": 0.1}; NaN and infinity are written as they are.

        Raises:
            OSError: no space.
        """
        values = [Summary.Value(tag=tag, simple_value=float(v)) for tag, v in scalars.items()]
        self._append(step=step, summary=Summary(value=values))

    def close(self) -> None:
        """Closes the file; closing twice does nothing."""
        if not self._records.closed:
            self._records.close()

    def _append(self, **content: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


def _open_new_file(folder: Path) -> BinaryIO:
    """Opens an event file that sorts behind the others: TensorBoard reads a folder in order."""
    stamps = [int(match[1]) for path in folder.iterdir() if (match := _FILE_NAME.match(path.name))]
    stamp = max([int(time.time()), *(other + 1 for other in stamps)])
    name = f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
    return (folder / name).open("xb")
