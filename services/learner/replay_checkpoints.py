"""Keeps the learner and its replay shards on the same checkpoint.

If the learner restarts, the tables are ahead of it, and it has them restored to its checkpoint. If
a shard restarts, it loads the tables of its newest checkpoint; the learner, which has continued to
train, is ahead of them and must return to that checkpoint, too. If shards were only unreachable,
their tables are unchanged, and training continues.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from rrl_client import ClientSecurity
from services.learner.feed import ReplayLost
from services.replay.control_client import ControlClient
from services.replay.failures import ReplayTimeout
from services.shared.logging import Occasionally

_ANSWER_SECONDS = 10.0
_LOG_PERIOD_SECONDS = 60.0
_POLL_SECONDS = 0.2


class ReplayCheckpoints:
    """The checkpoints of all shards of one learner's replay.

    Args:
        controls: "host:port" of each shard's control service.
        security: TLS and credentials for them; None for plaintext without a token.
    """

    def __init__(self, controls: Sequence[str], security: ClientSecurity | None = None) -> None:
        self._controls = [ControlClient(address, security) for address in controls]
        self._generations: list[str] = []

    def restore_all(self, checkpoint: int, stop: threading.Event) -> bool:
        """Have all shards serve the tables of a checkpoint; waits for shards that are down.

        Args:
            checkpoint: Number of the checkpoint; 0 for empty tables.
            stop: Ends the wait.

        Returns:
            Whether all shards do; False if `stop` was set first.

        Raises:
            TablesUnusable: a shard has no tables of that checkpoint, or cannot load them.
            UserError: one of the servers is not a replay role.
        """
        should_log = Occasionally(_LOG_PERIOD_SECONDS, at_once=False)
        found: list[str] = []
        while len(found) < len(self._controls):
            try:
                found.append(self._controls[len(found)].restore(checkpoint).generation)
            except ReplayTimeout as error:
                if should_log():
                    logging.getLogger(__name__).warning("waiting: %s", error)
                if stop.wait(_POLL_SECONDS):
                    return False
        self._generations = found
        return True

    def check_unchanged(self) -> None:
        """Check that the shards still serve the restored tables.

        Raises:
            ReplayLost: a shard serves other tables.
            ReplayTimeout: a shard does not answer.
        """
        for control, generation in zip(self._controls, self._generations, strict=True):
            served = control.status(_ANSWER_SECONDS)
            if served.generation != generation:
                raise ReplayLost(
                    f"replay restarted with the tables of checkpoint {served.checkpoint}"
                )

    def wait_until_reachable(self, stop: threading.Event) -> bool:
        """Wait without a timeout until all shards answer.

        Returns:
            Whether all still serve the restored tables; False if `stop` was set first.

        Raises:
            ReplayLost: a shard serves other tables.
        """
        should_log = Occasionally(_LOG_PERIOD_SECONDS)
        while not stop.is_set():
            try:
                self.check_unchanged()
                return True
            except ReplayTimeout as error:
                if should_log():
                    logging.getLogger(__name__).warning("waiting: %s", error)
                stop.wait(_POLL_SECONDS)
        return False

    def save_all(self, checkpoint: int, keep: Sequence[int]) -> None:
        """Have all shards save their tables under the number of a checkpoint.

        Args:
            checkpoint: Number of the checkpoint.
            keep: Numbers of the other checkpoints to keep.

        Raises:
            ReplayLost: a shard serves other tables now.
            ReplayTimeout: a shard does not answer.
            SaveFailed: a shard has no space, or no permission.
        """
        for control, generation in zip(self._controls, self._generations, strict=True):
            if control.save(generation, checkpoint, keep) is None:
                raise ReplayLost("replay restarted with other tables before it saved a checkpoint")

    def close(self) -> None:
        """Close the connections."""
        for control in self._controls:
            control.close()
