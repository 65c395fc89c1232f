"""What can go wrong with replay; importing this imports nothing else, least of all Reverb."""

from __future__ import annotations


class SamplingFailed(Exception):
    """Reverb stopped sampling: its server is down, or refused."""


class ReplayTimeout(Exception):
    """The replay server did not answer, or its rate limiter gave nothing, in the time allowed."""


class WriterStopped(Exception):
    """`should_stop` became true while a write was waiting; its rows may not be in the table."""


class TablesUnusable(Exception):
    """Replay has no tables of a checkpoint, or cannot load them."""


class SaveFailed(Exception):
    """Replay could not save its tables; those saved before stay."""
