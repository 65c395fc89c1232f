"""Writes curves, texts and images as TensorBoard event files, without TensorFlow.

The event writer of the `tensorboard` package imports TensorFlow if it is installed; its record
writer and protos, which suffice here, do not.

A resuming writer opens a new file that starts with a session mark: TensorBoard then hides what an
earlier process wrote beyond the step from which the run resumes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from services.tracking.tracker import TrackedRun, as_markdown

_FILE_NAME = re.compile(r"events\.out\.tfevents\.(\d{10,})\.")


class TensorBoard:
    """Appends to a new event file in a folder; data is on disk when a call returns.

    A `Tracker`.
    """

    def __init__(self, run: TrackedRun) -> None:
        """Opens the file; older ones in the run's metrics folder stay unchanged.

        Args:
            run: The run; TensorBoard hides points of older files beyond the step at which it
                resumes.

        Raises:
            OSError: no space, no permission.
        """
        run.metrics.mkdir(parents=True, exist_ok=True)
        self._records = RecordWriter(_open_new_file(run.metrics))
        try:
            self._append(file_version="brain.Event:2")
            if run.resumed_step is not None:
                # TensorBoard drops steps >= the mark's, and the checkpoint's own step is still
                # valid.
                mark = SessionLog(status=SessionLog.START)
                self._append(step=run.resumed_step + 1, session_log=mark)
        except OSError:
            with contextlib.suppress(OSError):
                self.close()
            raise

    def configuration(self, settings: Mapping[str, object]) -> None:
        """Adds a table of the settings, as text."""
        rows = [f"|{name}|{json.dumps(value)}|" for name, value in settings.items()]
        self._add_text("configuration", "\n".join(["|setting|value|", "|---|---|", *rows]), step=0)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one point per tag, including NaN and infinity.

        Raises:
            OSError: no space.
        """
        points = [Summary.Value(tag=tag, simple_value=float(v)) for tag, v in values.items()]
        self._append(step=step, summary=Summary(value=points))

    def file(self, path: Path, step: int) -> None:
        """Adds an image, possibly animated, or a text.

        Raises:
            OSError: the file cannot be read, or no space.
        """
        if path.suffix not in (".gif", ".png"):
            self._add_text(path.name, as_markdown(path), step)
            return
        with Image.open(path) as opened:
            width, height = opened.size
        image = Summary.Image(
            width=width, height=height, colorspace=3, encoded_image_string=path.read_bytes()
        )
        self._append(step=step, summary=Summary(value=[Summary.Value(tag=path.name, image=image)]))

    def _add_text(self, tag: str, text: str, step: int) -> None:
        value = Summary.Value(
            tag=tag,
            metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
            tensor=TensorProto(
                dtype=DT_STRING,
                string_val=[text.encode()],
                tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
            ),
        )
        self._append(step=step, summary=Summary(value=[value]))

    def close(self) -> None:
        """Closes the file; closing twice does nothing."""
        if not self._records.closed:
            self._records.close()

    def _append(self, **content: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


def _open_new_file(folder: Path) -> BinaryIO:
    """Opens an event file that sorts after the others: TensorBoard reads a folder in order."""
    stamps = [int(match[1]) for path in folder.iterdir() if (match := _FILE_NAME.match(path.name))]
    stamp = max([int(time.time()), *(other + 1 for other in stamps)])
    name = f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
    return (folder / name).open("xb")
