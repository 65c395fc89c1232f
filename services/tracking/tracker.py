"""The interface of an experiment tracker; each implementation has its own module."""

from __future__ import annotations

import dataclasses
import re
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from rrl_agents.durable_files import write_whole

TrackerName: TypeAlias = Literal["tensorboard", "trackio", "wandb", "mlflow"]
"""Name of a tracker and of its library."""

PROJECT = "rrl"
"""The project in trackers, unless the user's environment names another."""

METRICS_FOLDER = "metrics"
_IDENTITY_FILE = "tracked_as"
_IDENTITY = re.compile(r"[0-9a-f]{32}")
_IDENTIFYING = threading.Lock()
"""Several trackers of a run may call at once."""


class Tracker(Protocol):
    """Records a run for the user. Used by one thread; may raise anything."""

    def configuration(self, settings: Mapping[str, object]) -> None:
        """Record the settings, dotted name -> JSON value; once per session, always the same."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add points to curves.

        Args:
            step: Updates of the learner; lower than before if a run resumes.
            values: By tag, e.g. {"loss/td": 0.1}; may be NaN or infinite.
        """

    def file(self, path: Path, step: int) -> None:
        """Show or store a file, .gif, .png, .md or .json, replacing one of the same name."""

    def close(self) -> None:
        """Write the rest; a second call does nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """The run that a tracker records.

    Attributes:
        folder: Folder of the run.
        resumed_step: Updates at which this session resumes; None for a fresh run.
    """

    folder: Path
    resumed_step: int | None = None

    @property
    def metrics(self) -> Path:
        """Folder of its metrics."""
        return self.folder / METRICS_FOLDER

    @property
    def identity(self) -> str:
        """32 hexadecimal digits, unique to the run and the same in all of its sessions.

        Raises:
            OSError: no space, no permission.
        """
        file = self.metrics / _IDENTITY_FILE
        with _IDENTIFYING:
            if file.exists():
                with file.open() as opened:
                    known = opened.read(33)
                if _IDENTITY.fullmatch(known):
                    return known
            made = uuid.uuid4().hex
            self.metrics.mkdir(parents=True, exist_ok=True)
            write_whole(file, made)
            return made

    @property
    def name(self) -> str:
        """A readable, unique name: its folder's name, and the start of its identity."""
        return f"{self.folder.resolve().name}-{self.identity[:6]}"


def as_markdown(path: Path) -> str:
    """The text of a .md or .json file, for trackers that show Markdown.

    Raises:
        OSError: it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    return text if path.suffix == ".md" else f"```\n{text}\n```"
