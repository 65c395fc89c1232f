"""The replay of a finished or stopped run, as episodes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rrl_agents.checkpoints.minari_files.writing import PlayedEpisode
from rrl_agents.environments.registry import make_environment
from services.launcher.experiment import Experiment
from services.launcher.jobs import Job, replay_config
from services.launcher.settings import read_experiment
from services.learner.checkpoint_records import newest_checkpoint
from services.replay.failures import TablesUnusable
from services.replay.local_tables import LocalTables
from services.replay.table_episodes import table_episodes
from services.shared.errors import UserError, user_errors
from services.shared.locks import LEARNER_LOCK, is_locked


def run_play(run: Path, table: str) -> tuple[Experiment, Iterator[PlayedEpisode]]:
    """The play in a table of a run's newest checkpoint.

    Args:
        run: Folder of the run; nothing in it is changed.
        table: `STUDENT_TABLE` or `TEACHER_TABLE`.

    Returns:
        The experiment, without its teacher; and the episodes.

    Raises:
        UserError: it is not a run in one process, is still training, has no checkpoint yet, or its
            tables are damaged.
    """
    config, found = read_experiment(run)
    if not config.one_process:
        raise UserError(
            f"{run} keeps its replay in Reverb, whose files hold no episodes: only the "
            "replay of a run with --one-process can be exported"
        )
    lock = run / LEARNER_LOCK
    # `is_locked` would create a missing lock file.
    if lock.exists() and is_locked(lock):
        raise UserError(f"{run} is still training; wait until it ends, or stop it first")
    checkpoint = newest_checkpoint(run)
    if checkpoint is None:
        raise UserError(f"{run} has no checkpoint yet; resume the run until it has one")
    with contextlib.closing(make_environment(config.environment, 1)) as environment:
        spec = environment.spec
    experiment = Experiment(config=config, spec=spec, card=None, random_return=found.random_return)
    job = Job(experiment=experiment, run=run)
    tables = LocalTables(replay_config(job), job.shard_folder / "checkpoints")
    with user_errors((TablesUnusable,)):
        tables.restore(checkpoint.number)
    return experiment, table_episodes(tables.tables[table].save(), experiment.layout)
