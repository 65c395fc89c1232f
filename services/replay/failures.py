"""Exceptions of replay, in a module of their own so that importing them does not import Reverb."""

from __future__ import annotations


class SamplingFailed(Exception):
    """Reverb stopped sampling: its server is down, or refused the request."""


class ReplayTimeout(Exception):
    """The replay server did not answer in time, or its rate limiter allowed nothing in time."""


class WriterStopped(Exception):
    """`should_stop` became true while a write was waiting; its rows may not be in the table."""


class TablesUnusable(Exception):
    """Replay has no tables for a checkpoint, or cannot load them."""


class SaveFailed(Exception):
    """Replay could not save its tables; tables saved earlier stay."""
