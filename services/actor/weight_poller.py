"""Fetches the newest weights and progress on a thread, while the actor acts."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time

import jax

from rrl_agents.types import Params, Progress
from services.learner.client import LearnerClient, LearnerRefused, LearnerUnavailable, Purpose
from services.shared.errors import UserError

_FIRST_PERIOD_SECONDS = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActorSnapshot:
    """The weights and progress that an actor acts with.

    Attributes:
        progress: Progress of the run, at most one poll old.
        version: Version of the weights.
        params: Newest weights that the actor has, on the device that it computes on.
        confirmed_at: Monotonic time, in seconds, at which the learner last confirmed that these
            weights are the newest.
    """

    progress: Progress
    version: int
    params: Params
    confirmed_at: float


class WeightPoller:
    """Keeps an `ActorSnapshot` up to date until closed; retries while the learner is unavailable.

    Args:
        client: Client of the learner.
        period_seconds: Time between two requests.
    """

    def __init__(self, client: LearnerClient, *, period_seconds: float) -> None:
        self._client = client
        self._period_seconds = period_seconds
        self._latest: ActorSnapshot | None = None
        self._failure: Exception | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="weight-poller", daemon=True)
        self._thread.start()

    @property
    def latest(self) -> ActorSnapshot | None:
        """Newest snapshot; None before the first answer.

        Raises:
            UserError: the server is not a learner of this version, or rejects the token; a retry
                would fail, too.
        """
        if self._failure is not None:
            raise UserError(f"the learner's answers cannot be used: {self._failure}")
        return self._latest

    @property
    def newest(self) -> ActorSnapshot | None:
        """As `latest`, for metrics: never raises."""
        return self._latest

    def close(self) -> None:
        """Stop polling."""
        self._closed.set()
        self._thread.join()

    def _poll(self) -> None:
        is_unavailable = False
        # Poll often at first, but less and less: a thousand actors may wait for the first weights.
        period = min(_FIRST_PERIOD_SECONDS, self._period_seconds)
        while not self._closed.wait(period):
            period = min(2.0 * period, self._period_seconds)
            try:
                self._refresh()
                is_unavailable = False
            except LearnerUnavailable as error:
                if isinstance(error, LearnerRefused) and self._latest is None:
                    self._failure = error
                    return
                if not is_unavailable:
                    logging.getLogger(__name__).warning("%s; retrying", error)
                is_unavailable = True
            except ValueError as error:
                self._failure = error
                return

    def _refresh(self) -> None:
        latest = self._latest
        update = self._client.fetch(latest.version if latest is not None else 0, Purpose.ACT)
        now = time.monotonic()
        if update.params is not None:
            self._latest = ActorSnapshot(
                progress=update.progress,
                version=update.version,
                # Received arrays are not aligned: every forward pass would copy them.
                params=jax.device_put(update.params),
                confirmed_at=now,
            )
        elif latest is not None:
            # A learner that is sending weights to many other actors returns only its progress.
            confirmed_at = now if update.version == latest.version else latest.confirmed_at
            self._latest = dataclasses.replace(
                latest, progress=update.progress, confirmed_at=confirmed_at
            )
