"""A query on its way through the service, and how it can be refused.

    gRPC call ── Query ──▶ engine ──▶ priority ──▶ device thread
        ▲                    │ Refusal: raised at once     │
        └── Sink.settled ◀───┴── values or a Refusal ──────┘

A stream or a unary call makes the query and owns its memory. Its sink is notified once, when the
query is settled. Nothing here depends on gRPC.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl_client import Priority
from rrl_client.requests import Refusal


class Sink(Protocol):
    """Receives settled queries."""

    def settled(self, queries: Sequence[Query]) -> None:
        """Receive queries that have just been answered or refused.

        Called once per batch for all queries of this sink, from a device thread, the timer thread,
        or the submitter of another query, which may find these dead. It must return at once and
        must not raise.
        """


@dataclasses.dataclass(slots=True, eq=False)
class Query:
    """Rows to evaluate in one batch, and afterwards their values.

    Attributes:
        observations: [B, *observation_shape], 1 <= B <= the largest batch; must not change until
            settled.
        deadline: When the answer becomes useless, in seconds of `time.monotonic`.
        priority: Its priority.
        client: Its client; clients of one priority take turns.
        sink: Notified when it is settled.
        user_data: Set by its maker, e.g. a tag; not used here.
        rows: B.
        values: float32 [B, A], C-contiguous; set by the device thread before it is settled.
        refusal: Set when settled without values.
        version: Number of the model version that answered.
        parameters_hash: Hash of the parameters that answered.
        cancelled: Set by its maker when the answer is no longer needed: if still waiting, it is not
            computed. A cancelled query is also settled (CANCELLED).
        queued_at: `time.monotonic` at submission; set by the batcher.
        stats: The metrics that count it; set by the batcher.
    """

    observations: NDArray[Any]
    _: dataclasses.KW_ONLY
    deadline: float
    priority: Priority
    client: Hashable
    sink: Sink
    user_data: Any = None
    rows: int = dataclasses.field(init=False)
    values: NDArray[np.float32] | None = dataclasses.field(default=None, init=False)
    refusal: Refusal | None = dataclasses.field(default=None, init=False)
    version: int = dataclasses.field(default=0, init=False)
    parameters_hash: str = dataclasses.field(default="", init=False)
    cancelled: bool = dataclasses.field(default=False, init=False)
    queued_at: float = dataclasses.field(default=0.0, init=False)
    stats: Any = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        """Count the rows, once."""
        self.rows = len(self.observations)
