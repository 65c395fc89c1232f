"""The replay role: Reverb's tables, and their part of a run's commits, as the learner asks.

    learner ── Checkpoint(commit) ──▶ ReplayRole ── writes, keeps ──────────────▶ ShardCheckpoints
    learner ── Restore(commit) ─────▶     "      ── stops, loads, serves anew ──▶ Reverb, same port
    learner, actors ── items, samples ──────────────────────────────────────────▶   "

Learner and tables must stand on one commit whichever of the two was gone: a learner that comes back
has tables that went on without it, tables that come back have a learner that is ahead of them.
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
from services.replay.server import ReplayServer, build_replay
from services.replay.shard_checkpoints import ShardCheckpoints
from services.replay.standing import EMPTY, Standing
from services.shared.addresses import check_port_is_free
from services.shared.errors import UserError
from services.shared.locks import REPLAY_LOCK, locked

_LOCK_WAIT_SECONDS = 10.0
_FIRST = 1
"""The one commit whose tables may be there with no other of the run: a learner ended before its own
part was. Whoever asks for tables under a later number has finished an earlier one."""


class OtherTables(Exception):
    """The caller speaks of tables that are not served any more."""


@dataclasses.dataclass(kw_only=True)
class Tally:
    """What a role has done since its process began.

    Attributes:
        restores: Times that tables were loaded because the learner asked.
        checkpoints: Checkpoints written.
        failed_checkpoints: Checkpoints that could not be written.
        checkpoint_seconds: What the last one took.
        commit: Newest commit that the tables were loaded from or written to.
    """

    restores: int = 0
    checkpoints: int = 0
    failed_checkpoints: int = 0
    checkpoint_seconds: float = 0.0
    commit: int = EMPTY


class ReplayRole:
    """Serves the tables of one commit after the other, always on one port.

    Args:
        config: Tables and port; its `restore_from` is not looked at.
        commits: Folder of the tables' part of the run's commits.
    """

    def __init__(self, config: ReplayConfig, commits: Path) -> None:
        self._config = config
        self._checkpoints = ShardCheckpoints(commits)
        self._folder = commits.parent
        self._lock = contextlib.ExitStack()
        self._changing = threading.Lock()
        self._server: ReplayServer | None = None
        self._standing: Standing | None = None
        self._sampled_at_start: list[int] = []
        self._stopped = False
        self.tally = Tally()

    def start(self) -> int:
        """Serve the newest tables that are kept and can be loaded, else empty ones.

        The learner then asks for those of its own commit, mostly the same.

        Returns:
            The port.

        Raises:
            UserError: the port is in use, another replay server has the folder, or the working
                folder holds something else.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # Whoever was stopped a moment ago may still be on its way out.
        with self._changing:
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
        """Where clients on this machine find the tables, "host:port".

        Raises:
            RuntimeError: they are not served.
        """
        server = self._server
        if server is None:
            raise RuntimeError("the replay role is not running; call start first")
        return server.address

    @property
    def standing(self) -> Standing | None:
        """What is served; None while tables are being loaded, and before and after."""
        return self._standing

    def restore(self, commit: int, is_wanted: Callable[[], bool] = lambda: True) -> Standing:
        """Serve the tables of a commit, dropping what came after it.

        Nothing is loaded where they are served already and nobody has sampled from them: what
        actors have inserted since is the run's own.

        Args:
            commit: Its number; `EMPTY` for empty tables.
            is_wanted: Whether the caller still waits, asked once it is his turn.

        Raises:
            LookupError: no tables of that commit are kept, or empty ones are asked for although the
                run has commits; what was served goes on.
            UserError: they cannot be loaded; nothing is served then.
            RuntimeError: the role was stopped, nobody wants it any more, or somebody else has taken
                the port meanwhile.
        """
        with self._changing:
            self._check_is_wanted(is_wanted)
            if commit == EMPTY:
                self._check_may_begin()
            standing = self._standing
            if standing is None or standing.commit != commit or self._was_sampled():
                tables = self._checkpoints.tables(commit) if commit != EMPTY else None
                logging.getLogger(__name__).info("going back to checkpoint %d", commit)
                self._end()
                self._check_port_is_ours()
                self._load(commit, tables)
                self.tally.restores += 1
            assert self._standing is not None
            return self._standing

    def checkpoint(
        self,
        incarnation: str,
        commit: int,
        keep: Collection[int],
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> int:
        """Write the tables down as those of a commit; requests wait meanwhile.

        Args:
            incarnation: Of the tables that are meant.
            commit: The commit's number.
            keep: Numbers of the commits that may be gone back to, too.
            is_wanted: Whether the caller still waits, asked once it is his turn.

        Returns:
            Bytes written.

        Raises:
            OtherTables: these are not the tables that are served.
            OSError: no space, no permission.
            RuntimeError: Reverb could not write, or nobody wants it any more.
            ReplayTimeout: Reverb does not answer.
        """
        with self._changing:
            self._check_is_wanted(is_wanted)
            if self._standing is None or self._standing.incarnation != incarnation:
                raise OtherTables("the tables were loaded anew")
            began = time.monotonic()
            try:
                written = checkpoint_replay(self.address)
                size = self._checkpoints.keep(commit, written, keep)
            except Exception:
                self.tally.failed_checkpoints += 1
                raise
            finally:
                drop_working_checkpoints(self._config.checkpoint_root)
            self.tally.checkpoints += 1
            self.tally.commit = commit
            self.tally.checkpoint_seconds = time.monotonic() - began
            return size

    def stop(self) -> None:
        """Stop serving; blocked clients are released."""
        with self._changing:
            self._stopped = True
            self._end()
            self._lock.close()

    def _check_is_wanted(self, is_wanted: Callable[[], bool]) -> None:
        # Whoever gave up may stand on another commit by now.
        if not is_wanted():
            raise RuntimeError("nobody waits for the answer any more; nothing was done")

    def _check_may_begin(self) -> None:
        kept = self._checkpoints.numbers()
        if any(number > _FIRST for number in kept):
            # Empty tables' first checkpoint would delete them.
            raise LookupError(
                f"the tables of checkpoints {kept} are kept here, and the learner has none: bring "
                "its folder back from the backup that the shard's is of, or choose another --run"
            )

    def _load(self, commit: int, tables: Path | None) -> int:
        if self._stopped:
            raise RuntimeError("the replay role was stopped")
        self._end()
        server = build_replay(dataclasses.replace(self._config, restore_from=tables))
        port = server.start()
        # Whoever found the tables on a port that was free finds them there again.
        self._config = dataclasses.replace(self._config, port=port)
        self._server = server
        self._sampled_at_start = self._sampled()
        self._standing = Standing(incarnation=uuid.uuid4().hex, commit=commit)
        self.tally.commit = commit
        return port

    def _check_port_is_ours(self) -> None:
        """Keep a port that is in use apart from tables that cannot be loaded: it comes free again.

        Raises:
            RuntimeError: it is in use.
        """
        try:
            check_port_is_free(
                "0.0.0.0", self._config.port, purpose="the replay server", flag="--port"
            )
        except UserError as error:
            raise RuntimeError(str(error)) from error

    def _end(self) -> None:
        self._standing = None
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _was_sampled(self) -> bool:
        return self._sampled() != self._sampled_at_start

    def _sampled(self) -> list[int]:
        return [counts.sampled for counts in table_counts(self.address).values()]
