"""Runs in Weights & Biases, by the user's own login; in a folder where WANDB_MODE is offline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import wandb

from services.tracking.tracker import PROJECT, TrackedRun

_STEP = "learner_updates"


def would_ask() -> bool:
    """Whether opening a run would ask for a login, and wait for it where there is a terminal."""
    settings = wandb.setup().settings
    is_online = settings.mode not in ("offline", "dryrun", "disabled")
    return is_online and wandb.api.api_key is None and settings.identity_token_file is None


class WandB:
    """One run of Weights & Biases; a `Tracker`."""

    def __init__(self, run: TrackedRun) -> None:
        """Opens the run, or makes it where it is not known."""
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.identity,
            name=run.name,
            resume="allow",
            # The role's log, or the terminal, is not for it to read along.
            settings=wandb.Settings(console="off", reinit="create_new"),
        )
        # Its own steps never go back, as those of a run that resumes do.
        self._run.define_metric("*", step_metric=_STEP)
        self._is_open = True

    def configuration(self, settings: Mapping[str, object]) -> None:
        """Sets the settings."""
        self._run.config.update(dict(settings), allow_val_change=True)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one point per tag."""
        self._run.log({**values, _STEP: step})

    def file(self, path: Path, step: int) -> None:
        """Keeps a file with the run's; images are shown, too."""
        # Of a link, which `save` alone makes, an offline run would later find another file or none.
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
