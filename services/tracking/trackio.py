"""Sends runs to Trackio: to its local database, or where its TRACKIO_ variables say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import trackio

from services.tracking.tracker import PROJECT, TrackedRun, as_markdown


class Trackio:
    """One run of Trackio; a `Tracker`."""

    def __init__(self, run: TrackedRun) -> None:
        """Opens the run, or creates it if Trackio does not have it."""
        self._run = trackio.init(project=PROJECT, name=run.name, resume="allow", embed=False)
        self._is_open = True

    def configuration(self, settings: Mapping[str, object]) -> None:
        """Is sent with the next point."""
        self._run.config.update(settings)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one point per tag."""
        self._run.log(dict(values), step=step)

    def file(self, path: Path, step: int) -> None:
        """Adds an image, a video or a text."""
        name = path.stem.lower()
        if path.suffix == ".gif":
            self._run.log({name: trackio.Video(path)}, step=step)
        elif path.suffix == ".png":
            self._run.log({name: trackio.Image(path)}, step=step)
        else:
            self._run.log({name: trackio.Markdown(as_markdown(path))}, step=step)

    def close(self) -> None:
        """Waits until everything is written, at most half a minute."""
        if self._is_open:
            self._is_open = False
            self._run.finish()
