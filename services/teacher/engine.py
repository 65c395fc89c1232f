"""The models of this process, and which version answers a query.

    name ──▶ versions, newest last ──▶ queue of the batcher

A query goes to the version that is newest when it arrives, or to the version it pins, as long as
that is kept. A new version takes over between batches: it is compiled before it is added, the old
one still answers the queries that wait for it, and no answer mixes versions.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Sequence

from rrl_agents.checkpoints.teacher_card import MAX_CARD_BYTES
from rrl_client import TeacherDescription
from rrl_client.requests import Refusal, RefusalCode
from services.shared.errors import quoted
from services.teacher.batching.batcher import Batcher, ModelQueue
from services.teacher.batching.buckets import BucketPlan
from services.teacher.batching.query import Query
from services.teacher.config import BatchingConfig
from services.teacher.metrics import TeacherMetrics
from services.teacher.policies.interface import Policy

_LOG = logging.getLogger(__name__)
_RETIRE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class _Version:
    description: TeacherDescription
    queue: ModelQueue

    def is_called(self, version: str) -> bool:
        about = self.description
        return version in (str(about.model_version), about.teacher_version)


class Engine:
    """Answers queries with the models of this process; safe to use from any thread."""

    def __init__(
        self,
        batching: BatchingConfig,
        metrics: TeacherMetrics,
        *,
        max_message_bytes: int,
        kept_versions: int,
        host_id: str,
        device_threads: int = 1,
    ) -> None:
        """Start without models; refuse everything until `open`.

        Args:
            batching: Limits of requests and the queue.
            max_message_bytes: Largest message on the wire, for descriptions.
            metrics: The service's metrics; get their callbacks into the engine here.
            kept_versions: Versions of a model to keep when newer ones arrive.
            host_id: Identifies the host whose clients may share memory with this process; empty for
                none.
            device_threads: Batches computed side by side.
        """
        self._batching = batching
        self._metrics = metrics
        self._max_message_bytes = max_message_bytes
        self._kept_versions = kept_versions
        self._batcher = Batcher(
            max_queue_rows=batching.max_queue_rows,
            max_queue_bytes=batching.max_queue_bytes,
            device_threads=device_threads,
        )
        self._models: dict[str, tuple[_Version, ...]] = {}
        self._first = ""
        self._refusing: str | None = "warming up"
        self._changing = threading.Lock()
        self._host_id = host_id
        metrics.versions = self._descriptions
        metrics.queue_rows = self._queue_rows
        metrics.queue_bytes = lambda: self._batcher.queued_bytes

    def add_version(self, model: str, policy: Policy, plan: BucketPlan) -> TeacherDescription:
        """Serve a warm policy from now on; the oldest version beyond those kept retires.

        Args:
            model: Name on the server; an unknown one is added.
            policy: Compiled for every size of the plan.
            plan: Its batch sizes.

        Returns:
            Its description.
        """
        with self._changing:
            versions = self._models.get(model, ())
            number = versions[-1].description.model_version + 1 if versions else 1
            queue = ModelQueue(policy, plan, self._metrics.model(model), version=number)
            description = self._describe_policy(model, number, policy)
            self._batcher.add(queue)
            self._first = self._first or model
            kept = (*versions, _Version(description, queue))
            self._models[model] = kept[-self._kept_versions :]
            retired = kept[: -self._kept_versions]
        for version in retired:
            if not self._batcher.remove(version.queue, _RETIRE_SECONDS):
                _LOG.warning(
                    "version %d of %s still has queries", version.description.model_version, model
                )
        return description

    def newest(self, model: str) -> tuple[TeacherDescription, BucketPlan]:
        """The newest version of a model: description and plan.

        Raises:
            Refusal: NOT_FOUND.
        """
        version = self._find(model, "")
        return version.description, version.queue.plan

    def open(self) -> None:
        """Accept queries from now on."""
        self._refusing = None

    def refuse(self) -> None:
        """Refuse new queries with UNAVAILABLE; waiting ones are still answered."""
        self._refusing = "draining"

    def close(self, grace_seconds: float) -> None:
        """Refuse new queries, answer waiting ones, and end the device threads.

        Args:
            grace_seconds: After this, waiting queries are refused.
        """
        self.refuse()
        self._batcher.close(grace_seconds)

    def describe(self, model: str = "", version: str = "") -> TeacherDescription:
        """Describe a model's inputs and outputs.

        Args:
            model: Its name; empty for the only or first one.
            version: Number or hash; empty for the newest.

        Raises:
            Refusal: NOT_FOUND, FAILED_PRECONDITION or UNAVAILABLE.
        """
        self._check_open()
        return self._find(model, version).description

    def descriptions(self) -> Sequence[TeacherDescription]:
        """Every model in every version, ordered by name and version.

        Raises:
            Refusal: UNAVAILABLE.
        """
        self._check_open()
        return self._descriptions()

    def submit(self, query: Query, model: str = "", version: str = "") -> None:
        """Queue a query; its sink is notified when it is settled.

        Raises:
            Refusal: NOT_FOUND, FAILED_PRECONDITION (the pinned version is not served),
                RESOURCE_EXHAUSTED (no room, or the predicted wait passes the deadline),
                UNAVAILABLE. Then the sink is not called.
        """
        if self._refusing is not None:
            self._check_open()
        try:
            self._batcher.submit(query, self._find(model, version).queue)
        except Refusal as refusal:
            # Replaced since it was looked up: its successor answers.
            if version or refusal.code is not RefusalCode.FAILED_PRECONDITION:
                raise
            self._batcher.submit(query, self._find(model, version).queue)

    def _check_open(self) -> None:
        if self._refusing is not None:
            raise Refusal(RefusalCode.UNAVAILABLE, f"the teacher is {self._refusing}")

    def _find(self, model: str, version: str) -> _Version:
        versions = self._models.get(model or self._first)
        if versions is None:
            raise Refusal(
                RefusalCode.NOT_FOUND,
                f"no model {quoted(model)} here; there are {', '.join(sorted(self._models))}",
            )
        if not version:
            return versions[-1]
        for found in reversed(versions):
            if found.is_called(version):
                return found
        served = ", ".join(
            f"{found.description.model_version} ({found.description.teacher_version})"
            for found in versions
        )
        raise Refusal(
            RefusalCode.FAILED_PRECONDITION,
            f"version {quoted(version)} of {model or self._first!r} is not served; "
            f"served are {served}",
        )

    def _describe_policy(self, model: str, number: int, policy: Policy) -> TeacherDescription:
        info = policy.info
        return TeacherDescription(
            game=info.game,
            name=info.name,
            spec=info.spec,
            teacher_version=info.version,
            max_batch_rows=self._batching.max_batch_rows,
            model=model,
            model_version=number,
            backend=policy.backend,
            max_message_bytes=self._max_message_bytes,
            host_id=self._host_id,
            # The client would refuse a larger message; without the card, the fields above remain.
            card=info.card if len(info.card.encode()) <= MAX_CARD_BYTES else "",
        )

    def _descriptions(self) -> list[TeacherDescription]:
        models = sorted(self._models.items())
        return [version.description for _, versions in models for version in versions]

    def _queue_rows(self) -> dict[str, Sequence[int]]:
        return {
            model: [
                sum(rows) for rows in zip(*(v.queue.queues.rows for v in versions), strict=True)
            ]
            for model, versions in list(self._models.items())
        }
