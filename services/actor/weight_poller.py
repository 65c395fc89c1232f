"""The newest weights and progress, fetched beside acting by a thread of its own."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time

from rrl_agents.types import Params, Progress
from services.learner.weight_client import LearnerRefused, LearnerUnavailable, WeightClient
from services.shared.errors import UserError

_FIRST_PERIOD_SECONDS = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActingView:
    """What an actor goes by.

    Attributes:
        progress: Where the run stands, at most one poll old.
        version: Version of the weights.
        params: Newest weights the actor has.
        confirmed_at: Monotonic time at which the learner last said that there are none newer.
    """

    progress: Progress
    version: int
    params: Params
    confirmed_at: float


class WeightPoller:
    """Keeps an `ActingView` up to date until closed; a learner that is away is waited for.

    Args:
        client: Learner to ask.
        period_seconds: Time between two questions.
    """

    def __init__(self, client: WeightClient, *, period_seconds: float) -> None:
        self._client = client
        self._period_seconds = period_seconds
        self._latest: ActingView | None = None
        self._failure: Exception | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="weight-poller", daemon=True)
        self._thread.start()

    @property
    def latest(self) -> ActingView | None:
        """Newest view, None before the first answer.

        Raises:
            UserError: what answers is no learner of this kind; asking again is pointless.
        """
        if self._failure is not None:
            raise UserError(f"cannot go by the learner's answers: {self._failure}")
        return self._latest

    @property
    def newest(self) -> ActingView | None:
        """As `latest`, but never raises: for whoever only looks on."""
        return self._latest

    def close(self) -> None:
        """Stop asking."""
        self._closed.set()
        self._thread.join()

    def _poll(self) -> None:
        away = False
        # The first weights are wanted soon, but a thousand actors may be waiting for them.
        period = min(_FIRST_PERIOD_SECONDS, self._period_seconds)
        while not self._closed.wait(period):
            period = min(2.0 * period, self._period_seconds)
            try:
                self._refresh()
                away = False
            except LearnerUnavailable as error:
                if isinstance(error, LearnerRefused) and self._latest is None:
                    self._failure = error
                    return
                if not away:
                    logging.getLogger(__name__).warning("%s; asking again", error)
                away = True
            except ValueError as error:
                self._failure = error
                return

    def _refresh(self) -> None:
        latest = self._latest
        update = self._client.fetch(latest.version if latest is not None else 0)
        now = time.monotonic()
        if update.params is not None:
            self._latest = ActingView(
                progress=update.progress,
                version=update.version,
                params=update.params,
                confirmed_at=now,
            )
        elif latest is not None:
            # A learner that is sending weights to many others gives its progress alone.
            confirmed_at = now if update.version == latest.version else latest.confirmed_at
            self._latest = dataclasses.replace(
                latest, progress=update.progress, confirmed_at=confirmed_at
            )
