"""Prometheus metrics of an actor.

The actor's loop adds to plain numbers; each scrape reads them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from services.actor.behaviours import Annotator
from services.actor.weight_poller import WeightPoller
from services.shared.metrics import counter, counters, gauge


class ActorMetrics(Collector):
    """An actor's part of a metrics page; only one thread may count.

    Args:
        registry: Registry to add the metrics to; must not have another actor's.

    Attributes:
        poller: Poller of the actor's weights; None before the actor starts and after it stops.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._frames_per_step = 1
        self._steps = self._episodes = 0
        self._episode_return: float | None = None
        self._insert_wait_seconds = 0.0
        self._annotator: Annotator | None = None
        self.poller: WeightPoller | None = None
        registry.register(self)

    def attach(self, annotator: Annotator, *, frames_per_step: int) -> None:
        """Report the queries of an actor.

        Args:
            annotator: Counts the queries.
            frames_per_step: Emulator frames of one step.
        """
        self._annotator, self._frames_per_step = annotator, frames_per_step

    def stepped(self, steps: int) -> None:
        """Count agent steps."""
        self._steps += steps

    def finished_episode(self, episode_return: float) -> None:
        """Count an episode that was played to its end, and note its raw return."""
        self._episodes += 1
        self._episode_return = episode_return

    def waited_to_insert(self, seconds: float) -> None:
        """Count the seconds of a wait for replay to confirm items."""
        self._insert_wait_seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """The page's content."""
        yield counter("rrl_actor_steps", "Agent steps, in all environments.", self._steps)
        frames = self._steps * self._frames_per_step
        yield counter("rrl_actor_frames", "Emulator frames of these steps.", frames)
        yield counter("rrl_actor_episodes", "Episodes played to their end.", self._episodes)
        yield gauge(
            "rrl_actor_episode_return",
            "Raw return of the last finished episode, the teacher's or the student's.",
            self._episode_return,
        )
        yield counter(
            "rrl_actor_insert_wait_seconds",
            "Seconds that writes waited for replay.",
            self._insert_wait_seconds,
        )
        asked = self._annotator
        queries = {
            "answered": asked.answered_queries if asked is not None else 0,
            "unanswered": asked.unanswered_queries if asked is not None else 0,
        }
        yield counters("rrl_actor_queries", "Queries to the teacher.", "result", queries)
        yield from self._weights()

    def _weights(self) -> Iterator[Metric]:
        latest = self.poller.newest if self.poller is not None else None
        version = latest.version if latest is not None else None
        yield gauge("rrl_actor_weights_version", "Version of the weights that act.", version)
        # Weights have the version (updates made so far) + 1.
        lag = None
        if latest is not None:
            lag = max(latest.progress.learner_updates + 1 - latest.version, 0)
        yield gauge(
            "rrl_actor_weights_lag_updates",
            "Updates that the learner had made since these weights when it last answered.",
            lag,
        )
        age = time.monotonic() - latest.confirmed_at if latest is not None else None
        yield gauge(
            "rrl_actor_weights_age_seconds",
            "Seconds since the learner last confirmed that these weights are the newest.",
            age,
        )
