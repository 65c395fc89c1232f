"""`RUN/config.json`: the resolved experiment of a run, written once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.durable_files import write_whole
from services.shared.errors import UserError

CONFIG_FILE = "config.json"
_MAX_BYTES = 2**20


def read_config(run: Path) -> dict[str, Any]:
    """The experiment of a run.

    Raises:
        UserError: the folder is not a run's, or its config has changed since it was written.
    """
    path = run / CONFIG_FILE
    if not path.exists():
        raise UserError(
            f"{run} is not the folder of a run: it has no {CONFIG_FILE}; give a folder of "
            "`rrl train --run`"
        )
    try:
        return unseal(read_bounded(path, _MAX_BYTES, what="a run's config").decode())
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); restore it from a backup") from error


def write_config(run: Path, config: Mapping[str, Any]) -> None:
    """Write the experiment to a run's folder, atomically.

    Raises:
        OSError: no space, no permission.
    """
    write_whole(run / CONFIG_FILE, seal(config, indent=1))
