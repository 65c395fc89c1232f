"""The replay role: Reverb's tables, and their part of the run's checkpoints.

    learner ── Save(checkpoint) ─────▶ ReplayRole ── saves, keeps ────────────▶ ShardCheckpoints
    learner ── Restore(checkpoint) ──▶     "      ── stops, loads, serves ────▶ Reverb, same port
    learner, actors ── items, samples ────────────────────────────────────────▶   "

Learner and tables must be of the same checkpoint, whichever of the two restarts. If the learner
restarts, the tables are ahead of it; if replay restarts, its tables are behind a learner that has
continued to train.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

from services.replay.checkpoint import checkpoint_replay, drop_working_checkpoints
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.served_tables import EMPTY, ServedTables
from services.replay.server import ReplayServer, build_replay
from services.replay.shard_checkpoints import ShardCheckpoints
from services.shared.addresses import check_port_is_free
from services.shared.errors import UserError
from services.shared.locks import REPLAY_LOCK, locked

_LOCK_WAIT_SECONDS = 10.0
_FIRST = 1
"""The only checkpoint that may have tables here but no part of the learner: the learner was killed
before it saved its first part. If tables of a later number exist, the learner has completed an
earlier checkpoint."""


class GenerationChanged(Exception):
    """The tables that the caller learned from have been replaced by others."""


@dataclasses.dataclass(kw_only=True)
class RoleStats:
    """What a role has done since its process started.

    Attributes:
        restores: Loads of tables at the learner's request.
        checkpoints: Checkpoints saved.
        failed_checkpoints: Checkpoints that could not be saved.
        checkpoint_seconds: Duration of the last saved checkpoint.
        checkpoint: Number of the newest checkpoint that the tables were loaded from or saved to.
    """

    restores: int = 0
    checkpoints: int = 0
    failed_checkpoints: int = 0
    checkpoint_seconds: float = 0.0
    checkpoint: int = EMPTY


class ReplayRole:
    """Serves the tables of one checkpoint at a time, always on one port.

    Args:
        config: Tables and port; its `restore_from` is ignored.
        checkpoints: Folder of this shard's part of the run's checkpoints.

    Attributes:
        config: The settings, with the port in use once tables were served.
        stats: What the role has done.
        served: Which tables are served; None while tables are loaded, before `start` and after
            `stop`.
    """

    def __init__(self, config: ReplayConfig, checkpoints: Path) -> None:
        self.config = config
        self._checkpoints = ShardCheckpoints(checkpoints)
        self._folder = checkpoints.parent
        self._lock = contextlib.ExitStack()
        self._changing = threading.Lock()
        self._server: ReplayServer | None = None
        self.served: ServedTables | None = None
        self._sampled_at_start: list[int] = []
        self._stopped = False
        self.stats = RoleStats()

    def start(self) -> int:
        """Serve the newest saved tables that can be loaded, else empty tables.

        The learner then has the tables of its own checkpoint restored, usually the same ones.

        Returns:
            The port.

        Raises:
            UserError: the port is in use, another replay server uses the folder, or the working
                folder holds other files.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._changing:
            # A server that was just stopped may still be shutting down.
            self._lock.enter_context(
                locked(self._folder / REPLAY_LOCK, wait_seconds=_LOCK_WAIT_SECONDS)
            )
            for number in self._checkpoints.numbers():
                try:
                    return self._load(number, self._checkpoints.tables(number))
                except (UserError, LookupError) as error:
                    logging.getLogger(__name__).error("%s", error)
            return self._load(EMPTY, None)

    @property
    def address(self) -> str:
        """Address of the tables for clients on this machine, "host:port".

        Raises:
            RuntimeError: no tables are served.
        """
        server = self._server
        if server is None:
            raise RuntimeError("the replay role is not running; call start first")
        return server.address

    def restore(
        self, checkpoint: int, is_wanted: Callable[[], bool] = lambda: True
    ) -> ServedTables:
        """Serve the tables of a checkpoint, and drop everything newer.

        Tables that are served already and have not been sampled since stay as they are: items that
        actors have inserted into them belong to the run.

        Args:
            checkpoint: Number of the checkpoint; `EMPTY` for empty tables.
            is_wanted: Whether the caller is still waiting; called once earlier calls have ended.

        Raises:
            LookupError: the shard has no such tables, or empty ones are requested although the run
                has checkpoints. The present tables stay available.
            UserError: the tables cannot be loaded; no tables are served then.
            RuntimeError: the role was stopped, the caller gave up, or the port is in use.
        """
        with self._changing:
            _check_is_wanted(is_wanted)
            if checkpoint == EMPTY:
                self._check_may_start_empty()
            served = self.served
            if served is None or served.checkpoint != checkpoint or self._was_sampled():
                tables = self._checkpoints.tables(checkpoint) if checkpoint != EMPTY else None
                logging.getLogger(__name__).info("going back to checkpoint %d", checkpoint)
                self._end()
                self._check_port_is_ours()
                self._load(checkpoint, tables)
                self.stats.restores += 1
            assert self.served is not None
            return self.served

    def save(
        self,
        generation: str,
        checkpoint: int,
        keep: Collection[int],
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> int:
        """Save the tables under a checkpoint's number; requests for items wait during the save.

        Args:
            generation: `ServedTables.generation` of the tables that the caller learned from.
            checkpoint: Number of the new checkpoint.
            keep: Numbers of the other checkpoints to keep.
            is_wanted: Whether the caller is still waiting; called once earlier calls have ended.

        Returns:
            Bytes written.

        Raises:
            GenerationChanged: other tables are served now.
            OSError: no space, or no permission.
            RuntimeError: Reverb could not write, or the caller gave up.
            ReplayTimeout: Reverb does not answer.
        """
        with self._changing:
            _check_is_wanted(is_wanted)
            if self.served is None or self.served.generation != generation:
                raise GenerationChanged("other tables have been loaded")
            began = time.monotonic()
            try:
                written = checkpoint_replay(self.address)
                size = self._checkpoints.save(checkpoint, written, keep)
            except Exception:
                self.stats.failed_checkpoints += 1
                raise
            finally:
                drop_working_checkpoints(self.config.checkpoint_root)
            self.stats.checkpoints += 1
            self.stats.checkpoint = checkpoint
            self.stats.checkpoint_seconds = time.monotonic() - began
            return size

    def stop(self) -> None:
        """Stop serving; blocked clients are released."""
        with self._changing:
            self._stopped = True
            self._end()
            self._lock.close()

    def _check_may_start_empty(self) -> None:
        saved = self._checkpoints.numbers()
        if any(number > _FIRST for number in saved):
            # The next checkpoint, of empty tables, would delete them.
            raise LookupError(
                f"this shard has tables of checkpoints {saved}, but the learner has no checkpoint: "
                "restore the run's folder from the backup that has the shard's tables, or choose "
                "another --run"
            )

    def _load(self, checkpoint: int, tables: Path | None) -> int:
        if self._stopped:
            raise RuntimeError("the replay role was stopped")
        self._end()
        server = build_replay(dataclasses.replace(self.config, restore_from=tables))
        port = server.start()
        # Keep a freely chosen port: clients know its number.
        self.config = dataclasses.replace(self.config, port=port)
        self._server = server
        self._sampled_at_start = self._sampled()
        self.served = ServedTables(generation=uuid.uuid4().hex, checkpoint=checkpoint)
        self.stats.checkpoint = checkpoint
        return port

    def _check_port_is_ours(self) -> None:
        """Check the port first: a port in use is no reason to give up the checkpoint.

        Raises:
            RuntimeError: the port is in use; a retry may succeed.
        """
        try:
            check_port_is_free(
                "0.0.0.0", self.config.port, purpose="the replay server", flag="--port"
            )
        except UserError as error:
            raise RuntimeError(str(error)) from error

    def _end(self) -> None:
        self.served = None
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _was_sampled(self) -> bool:
        return self._sampled() != self._sampled_at_start

    def _sampled(self) -> list[int]:
        return [counts.sampled for counts in table_counts(self.address).values()]


def _check_is_wanted(is_wanted: Callable[[], bool]) -> None:
    # A caller that gave up may be using another checkpoint by now.
    if not is_wanted():
        raise RuntimeError("the caller gave up before this call began; nothing was done")
