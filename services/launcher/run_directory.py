"""A run's folder: the experiment it belongs to, and the sessions that work in it.

RUN/config.json     the resolved experiment, written once
RUN/provenance.json the student's parents, and each session's command, code and hardware
RUN/checkpoints/    checkpoints (services.learner.checkpointing)
RUN/replay/         the tables' part of the checkpoints (services.replay.shard_checkpoints)
RUN/metrics/        TensorBoard events, evaluations.jsonl, the run's name for other trackers
RUN/logs/           what the roles printed, a folder per session
RUN/report/         the result
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rrl_agents.types import Stage
from services.launcher.experiment import Experiment
from services.launcher.provenance import parents_of, record_session
from services.launcher.settings import read_whole_config
from services.learner.checkpoint_records import check_storable, newest_checkpoint
from services.shared.errors import UserError
from services.shared.run_config import CONFIG_FILE, write_config

_NOT_COMPARED = (
    *("teacher.checkpoint", "teacher.address", "teacher.mean_return", "teacher.play"),
    *("teacher.data", "teacher.data_number", "teacher.labels", "evaluation.max_share"),
    *("score_protocols", "track"),
)
"""Settings that may change between sessions: the locations of a teacher and its data, whose digests
identify them; whether its return was given; the speed of evaluations; where curves go; and what
follows from other settings, which older runs did not record."""

_OWN_FOLDERS = ("checkpoints", "replay", "metrics")
_NEW_FILE_SYSTEM = "lost+found"


def open_run(run: Path, experiment: Experiment) -> bool:
    """Create a run's folder, or check that it belongs to this experiment; record the session.

    Returns:
        Whether the run existed already.

    Raises:
        UserError: the folder holds something else, and is left untouched; or it cannot be created
            or written.
    """
    check_storable(run)
    was_there = False
    try:
        was_there = _open(run, json.loads(experiment.to_json()))
        if not is_finished(run):
            record_session(run, lambda: parents_of(experiment))
    except OSError as error:
        if not was_there:
            raise UserError(
                f"{run} cannot be used ({error.strerror or error}): choose another --run"
            ) from error
        # A full disk must not keep a run from resuming: its roles have checkpoints to read.
        logging.getLogger(__name__).warning("this session is not recorded in %s: %s", run, error)
    return was_there


def session_folder(run: Path) -> Path:
    """Create a folder for the output of this session's processes; earlier ones are kept."""
    earlier = [int(path.name) for path in (run / "logs").glob("*") if path.name.isdecimal()]
    folder = run / "logs" / f"{max(earlier, default=0) + 1:03d}"
    folder.mkdir(parents=True)
    return folder


def is_finished(run: Path) -> bool:
    """Whether a run's newest checkpoint is its last."""
    checkpoint = newest_checkpoint(run)
    return checkpoint is not None and checkpoint.record.progress.stage is Stage.FINISHED


def _open(run: Path, wanted: dict[str, Any]) -> bool:
    config = run / CONFIG_FILE
    if config.exists():
        _check_same(run, wanted)
        return True
    if run.exists() and (not run.is_dir() or any(map(_is_foreign, run.iterdir()))):
        if config.exists():
            # Another role of the same run has just written it.
            return _open(run, wanted)
        raise UserError(f"{run} exists and is not a run: choose another --run, or empty it")
    run.mkdir(parents=True, exist_ok=True)
    write_config(run, wanted)
    return False


def _is_foreign(path: Path) -> bool:
    # Another role of the same run may be writing the config at this moment.
    if path.name.startswith(f".{CONFIG_FILE}."):
        return False
    # A volume is mounted before it holds a run; a new file system has a folder of its own.
    if path.name in _OWN_FOLDERS and path.is_dir() and not path.is_symlink():
        return any(entry.name != _NEW_FILE_SYSTEM for entry in path.iterdir())
    return path.name != _NEW_FILE_SYSTEM


def _check_same(run: Path, wanted: dict[str, Any]) -> None:
    # A setting newer than the run is compared by its default: that is what the run did so far, and
    # what it does when it resumes.
    different = sorted(_differences(read_whole_config(run), wanted))
    if different:
        raise UserError(
            f"{run} belongs to another experiment (differs in {', '.join(different[:5])}): "
            "choose another --run, or give the same settings to resume it"
        )


def _differences(found: object, wanted: object, where: str = "") -> Iterator[str]:
    if where in _NOT_COMPARED:
        return
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in found.keys() | wanted.keys():
            yield from _differences(found.get(key), wanted.get(key), f"{where}.{key}".strip("."))
    elif found != wanted:
        yield where
