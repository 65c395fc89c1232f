"""Sends runs to Weights & Biases with the user's login, or to a folder if WANDB_MODE is offline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import wandb

from services.tracking.tracker import PROJECT, TrackedRun

_STEP = "learner_updates"


def would_ask() -> bool:
    """Whether opening a run would ask for a login, and wait for it on a terminal."""
    settings = wandb.setup().settings
    is_online = settings.mode not in ("offline", "dryrun", "disabled")
    return is_online and wandb.api.api_key is None and settings.identity_token_file is None


class WandB:
    """One run of Weights & Biases; a `Tracker`."""

    def __init__(self, run: TrackedRun) -> None:
        """Opens the run, or creates it if it does not exist."""
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.identity,
            name=run.name,
            resume="allow",
            # It must not record the role's log or the terminal.
            settings=wandb.Settings(console="off", reinit="create_new"),
        )
        # Its own steps never decrease, but those of a resumed run do.
        self._run.define_metric("*", step_metric=_STEP)
        self._is_open = True

    def configuration(self, settings: Mapping[str, object]) -> None:
        """Sets the settings."""
        self._run.config.update(dict(settings), allow_val_change=True)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one point per tag."""
        self._run.log({**values, _STEP: step})

    def file(self, path: Path, step: int) -> None:
        """Stores a file with the run; images are also shown."""
        # `save` only makes a link, behind which an offline run might later find another file or
        # none.
        kept = shutil.copy(path, self._run.dir)
        self._run.save(kept, base_path=self._run.dir, policy="now")
        if path.suffix == ".gif":
            self._run.log({path.stem: wandb.Video(str(path), format="gif"), _STEP: step})
        elif path.suffix == ".png":
            self._run.log({path.stem: wandb.Image(str(path)), _STEP: step})

    def close(self) -> None:
        """Uploads the rest."""
        if self._is_open:
            self._is_open = False
            self._run.finish()
