"""One query on its way through the service, and the ways it can be refused.

    gRPC call ── Query ──▶ engine ──▶ priority ──▶ device thread
        ▲                    │ Refusal: raised at once     │
        └── Sink.settled ◀───┴── values or a Refusal ──────┘

A stream or a unary call makes the query, owns its memory, and hears once, through its sink,
that it is settled. Nothing here knows gRPC.
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
    """Where settled queries are handed back."""

    def settled(self, queries: Sequence[Query]) -> None:
        """Take queries that have just been answered or refused.

        Called from the thread of a device, the timer, or the submitter of another query (which may
        find these dead), once per batch for all queries of this sink; it must return at once and
        raise nothing.
        """


@dataclasses.dataclass(slots=True, eq=False)
class Query:
    """Rows to evaluate, and afterwards their values; computed in one batch, whole.

    Attributes:
        observations: [B, *observation_shape], 1 <= B <= the largest batch; must not change until
            settled.
        deadline: When the answer becomes worthless, in seconds of `time.monotonic`.
        priority: What it is for.
        client: Whose it is: clients of one priority take turns.
        sink: Is called when it is settled.
        user_data: Its maker's own, e.g. a tag; untouched here.
        rows: B.
        values: float32 [B, A], C-contiguous; set by the device thread before it is settled.
        refusal: Set when settled without values.
        version: Number of the model's version that answered.
        parameters_hash: Hash of the parameters that answered.
        cancelled: Set by its maker when the answer is not wanted any more: a query that still
            waits is not computed. A cancelled query is settled too (CANCELLED).
        queued_at: `time.monotonic` at submission; the batcher's.
        stats: What it is counted in; the batcher's.
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
