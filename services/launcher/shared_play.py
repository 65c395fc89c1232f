"""Shares a teacher's play between runs in one process, so that costly play happens once.

    FOLDER/table-<key>-<seed>.npz   the teacher's table (`local_table.SavedTable`)
    FOLDER/table-<key>.json         what it contains, the seed it was played with, and its SHA-256
    FOLDER/evaluation-<key>.json    returns, steps and metrics of its evaluation

A key is the digest of everything that determines the play, except the run's seed: the teacher's
weights, the environment, the size and shapes of the table, the evaluation protocol. Runs with other
settings, or another format of these files, have other keys and ignore these files.

The run that plays holds a lock beside the file (`.table-<key>.lock`), and others wait for it. The
system releases the lock if the run is stopped or dies; then the next run plays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.durable_files import make_folders, replacing, write_whole
from rrl_agents.typed_json import encode
from services.evaluator.episodes import PlayedEpisodes
from services.launcher.experiment import Experiment
from services.replay.local_table import LocalTable
from services.replay.local_tables import load_table, save_table
from services.shared.errors import UserError, user_errors
from services.shared.file_digest import file_sha256
from services.shared.locks import locked

_MAX_DOCUMENT_BYTES = 2**24
_FORMAT = 2
"""Format of these files; increase it with any change to their content."""

_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TableDocument:
    """Describes a table: its content, the seed of the run that played it, and its file's digest."""

    of: Mapping[str, Any]
    seed: int
    sha256_of_table: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _EvaluationDocument:
    """Describes an evaluation, with its episodes as in `PlayedEpisodes`."""

    of: Mapping[str, Any]
    returns: tuple[float, ...]
    steps: tuple[int, ...]
    metrics: Mapping[str, tuple[float, ...]]


class SharedPlay:
    """The shared play of one experiment's teacher.

    Args:
        folder: Created when something is stored there.
        experiment: The run's experiment.

    Raises:
        UserError: the teacher has no card to identify its weights.
    """

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        if experiment.card is None:
            raise UserError("teacher.play needs a teacher with a card; leave it out")
        config, self._folder, self._seed = experiment.config, folder, experiment.config.seed
        played = {
            "format": _FORMAT,
            "teacher": experiment.card.parameters_sha256,
            "environment": encode(config.environment),
        }
        self._held: dict[Path, contextlib.ExitStack] = {}
        self._awaited: set[Path] = set()
        self._table = played | {
            "layout": encode(experiment.layout),
            # A smaller table keeps the newest rows.
            "items": min(experiment.targets.teacher_steps, config.replay_capacity),
            "teacher_steps": experiment.targets.teacher_steps,
            "environments": config.num_actors * config.envs_per_actor,
        }
        if config.collect_epsilon is not None:
            self._table["collect_epsilon"] = config.collect_epsilon
        protocol = config.evaluation
        self._evaluation = played | {
            "episodes": protocol.teacher_episodes,
            "epsilon": protocol.epsilon,
            "num_envs": protocol.num_envs,
            "first_seed": protocol.first_seed,
        }

    def close(self) -> None:
        """Let other runs play."""
        for document in [*self._held]:
            self._release(document)

    def claims_table(self) -> bool:
        """Whether this run is the one that plays the table, until it leaves the table or is closed.

        Raises:
            UserError: no permission to write to the folder.
        """
        return self._claims(self._table_document)

    def claims_evaluation(self) -> bool:
        """Whether this run is the one that plays the evaluation; each is, without fixed seeds.

        Raises:
            UserError: no permission to write to the folder.
        """
        return self._evaluation["first_seed"] is None or self._claims(self._evaluation_document)

    def take_table(self, table: LocalTable) -> bool:
        """Fill an empty table with stored play.

        Returns:
            Whether there was any.

        Raises:
            UserError: it is damaged.
        """
        document = self._table_document
        if not document.exists():
            return False
        with user_errors(_DAMAGED, prefix=f"{document} cannot be used; delete it: "):
            found = decode_sealed(_TableDocument, _read(document), str(document))
            file = self._table_file(found.seed)
            if file_sha256(file) != found.sha256_of_table:
                raise ValueError(f"{file} has changed since it was written")
            table.restore(load_table(file))
        _LOGGER.info("loaded %d of the teacher's steps from %s", table.inserted, file)
        return True

    def leave_table(self, table: LocalTable) -> None:
        """Store a complete table for other runs, unless there is one.

        Raises:
            UserError: no space, or no permission.
        """
        if not self._table_document.exists():
            with user_errors((OSError,)):
                make_folders(self._folder)
                file = self._table_file(self._seed)
                with replacing(file) as opened:
                    save_table(opened, table)
                document = _TableDocument(
                    of=self._table, seed=self._seed, sha256_of_table=file_sha256(file)
                )
                write_whole(self._table_document, seal(encode(document)))
        self._release(self._table_document)

    def evaluation(self) -> PlayedEpisodes | None:
        """The stored episodes of the teacher, if evaluations have fixed seeds.

        Raises:
            UserError: they are damaged.
        """
        path = self._evaluation_document
        if self._evaluation["first_seed"] is None or not path.exists():
            return None
        with user_errors(_DAMAGED, prefix=f"{path} cannot be used; delete it: "):
            found = decode_sealed(_EvaluationDocument, _read(path), str(path))
        _LOGGER.info("loaded the teacher's %d episodes from %s", len(found.returns), path)
        return PlayedEpisodes(
            returns=found.returns,
            steps=found.steps,
            metrics=found.metrics,
            first_episode_frames=(),
        )

    def leave_evaluation(self, played: PlayedEpisodes) -> None:
        """Store the teacher's episodes for other runs, if evaluations have fixed seeds.

        Raises:
            UserError: no space, or no permission.
        """
        if self._evaluation["first_seed"] is None:
            return
        document = _EvaluationDocument(
            of=self._evaluation, returns=played.returns, steps=played.steps, metrics=played.metrics
        )
        with user_errors((OSError,)):
            make_folders(self._folder)
            write_whole(self._evaluation_document, seal(encode(document)))
        self._release(self._evaluation_document)

    def _claims(self, document: Path) -> bool:
        # What is there needs no lock, which a folder of others may not permit.
        if document in self._held or document.exists():
            return True
        with user_errors((OSError,)):
            make_folders(self._folder)
            lock = contextlib.ExitStack()
            try:
                lock.enter_context(locked(document.with_name(f".{document.stem}.lock")))
            except UserError:
                if document not in self._awaited:
                    _LOGGER.info("waiting for %s, which another run plays", document)
                    self._awaited.add(document)
                return False
        self._held[document] = lock
        return True

    def _release(self, document: Path) -> None:
        if (held := self._held.pop(document, None)) is not None:
            held.close()

    @property
    def _table_document(self) -> Path:
        return self._document("table", self._table)

    def _table_file(self, seed: int) -> Path:
        return self._table_document.with_name(f"{self._table_document.stem}-{seed}.npz")

    @property
    def _evaluation_document(self) -> Path:
        return self._document("evaluation", self._evaluation)

    def _document(self, what: str, of: Mapping[str, Any]) -> Path:
        key = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]
        return self._folder / f"{what}-{key}.json"


def _read(path: Path) -> str:
    return read_bounded(path, _MAX_DOCUMENT_BYTES, what="a document").decode()
