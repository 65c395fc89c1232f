"""The data clocks of a run, read from replay: its tables count each item once."""

from __future__ import annotations

from collections.abc import Sequence

from services.replay.reader import STUDENT_TABLE, TEACHER_TABLE, table_counts


class ReplayCounts:
    """Counts the steps in all shards.

    Args:
        addresses: "host:port" of each shard's Reverb server.
        reloaded_steps: Recorded transitions at the start of the student's table: they are the
            teacher's steps, not the student's.
    """

    def __init__(self, addresses: Sequence[str], *, reloaded_steps: int) -> None:
        self._addresses = tuple(addresses)
        self._reloaded_steps = reloaded_steps

    def now(self) -> tuple[int, int]:
        """Steps of the teacher and of the students, at this moment.

        Raises:
            ReplayTimeout: a shard does not answer.
        """
        shards = [table_counts(address) for address in self._addresses]
        teacher_steps = sum(counts[TEACHER_TABLE].inserted for counts in shards)
        actor_steps = sum(counts[STUDENT_TABLE].inserted for counts in shards)
        if not self._reloaded_steps:
            return teacher_steps, actor_steps
        reloaded = min(actor_steps, self._reloaded_steps)
        return reloaded, actor_steps - reloaded
