"""The tie between a learner and its replay: all stand on one commit, or the learner begins anew.

A learner that comes back finds tables that went on without it, and has them fall back to its
commit. Tables that come back have fallen back themselves: whoever learned from them then, with
weights that are ahead, would make a commit of two moments. Tables that were only out of reach are
the same when they can be reached again, and nothing is lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from rrl_client import ClientSecurity
from services.replay.connection import ReplayTimeout
from services.replay.control_client import ControlClient

_ANSWER_SECONDS = 10.0
_ROUND_SECONDS = 60.0
"""How often somebody who reads the log hears what is waited for."""
_POLL_SECONDS = 0.2


class ReplayLost(Exception):
    """Replay came back with other tables: go on from the newest commit."""


class ReplayTie:
    """Ties one learner to the shards of its replay.

    Args:
        controls: "host:port" of each shard's control.
        security: What to trust and show there; None for plaintext without a token.
    """

    def __init__(self, controls: Sequence[str], security: ClientSecurity | None = None) -> None:
        self._controls = [ControlClient(address, security) for address in controls]
        self._incarnations: list[str] = []

    def join(self, commit: int, stop: threading.Event) -> bool:
        """Have all shards stand on a commit; waits for those that are not there.

        Args:
            commit: Its number, 0 for empty tables.
            stop: Ends the wait.

        Returns:
            Whether they do; False when stopped meanwhile.

        Raises:
            TablesUnusable: a shard has no tables of that commit, or cannot load them.
            UserError: what listens there is no replay role.
        """
        found = []
        for control in self._controls:
            while True:
                try:
                    standing = control.restore(commit, stop, _ROUND_SECONDS)
                    break
                except ReplayTimeout as error:
                    if stop.is_set():
                        return False
                    logging.getLogger(__name__).warning("waiting: %s", error)
            found.append(standing.incarnation)
        self._incarnations = found
        return True

    def check(self) -> None:
        """See that the tables are still those that were joined.

        Raises:
            ReplayLost: they are not.
            ReplayTimeout: a shard does not answer.
        """
        for control, incarnation in zip(self._controls, self._incarnations, strict=True):
            standing = control.standing(_ANSWER_SECONDS)
            if standing.incarnation != incarnation:
                raise ReplayLost(
                    f"replay came back with the tables of checkpoint {standing.commit}"
                )

    def await_again(self, stop: threading.Event) -> bool:
        """Wait for shards that were out of reach, without an end.

        Returns:
            Whether they are back with the tables that were joined; False when stopped meanwhile.

        Raises:
            ReplayLost: one came back with other tables.
        """
        tell_at = time.monotonic()
        while not stop.is_set():
            try:
                self.check()
                return True
            except ReplayTimeout as error:
                if time.monotonic() >= tell_at:
                    logging.getLogger(__name__).warning("waiting: %s", error)
                    tell_at = time.monotonic() + _ROUND_SECONDS
                stop.wait(_POLL_SECONDS)
        return False

    def checkpoint(self, commit: int, keep: Sequence[int]) -> int:
        """Have all shards write their tables down as those of a commit.

        Returns:
            Bytes written.

        Raises:
            ReplayLost: a shard serves other tables by now.
            ReplayTimeout: a shard does not answer.
            NotWritten: a shard has no space for it, or no permission.
        """
        total = 0
        for control, incarnation in zip(self._controls, self._incarnations, strict=True):
            written = control.checkpoint(incarnation, commit, keep)
            if written is None:
                raise ReplayLost("replay came back with other tables while they were written down")
            total += written
        return total

    def close(self) -> None:
        """Close the connections."""
        for control in self._controls:
            control.close()
