"""What is done to a system, and in which order: every kind to every role in turn, many times."""

from __future__ import annotations

import dataclasses
import enum
import random
from collections.abc import Collection, Iterator

from tests.faults.links import Cut
from tests.faults.system import ACTORS, EVALUATOR, LEARNER, REPLAY, ROLES, TEACHER


class Kind(enum.Enum):
    """What a fault does to its roles."""

    KILL = "SIGKILL"
    """Killed at once; started again after the fault's seconds."""
    TERMINATE = "SIGTERM"
    """Asked to end, killed if they have not after Docker's ten seconds; started again at once."""
    HANG = "SIGSTOP"
    """Stopped, for the fault's seconds."""
    REFUSE = "cut off, refused"
    SILENCE = "cut off, silent"
    FORGET = "connections forgotten"
    """Cut off from all others, for the fault's seconds, as `links.Cut` says."""
    DISK_FULL = "disk full"
    """The run's disk is full, for the fault's seconds; its roles are killed during that time."""
    DISK_SLOW = "slow disk"
    """It takes writes a tenth of the time only, for the fault's seconds; likewise."""
    CORRUPT_STATE = "corrupt weights"
    """Bytes of the newest checkpoint's state are turned over while its roles are down."""
    CORRUPT_TABLES = "corrupt tables"
    """The same in replay's part of it."""
    TRUNCATE_RECORD = "truncated record"
    """Its record is cut in half."""
    KILL_IN_CHECKPOINT = "SIGKILL in a checkpoint"
    """Killed at the moment that a checkpoint is half written."""
    HALF_SENT = "half-sent calls"
    """Calls of every method are begun by strangers and not finished, for the fault's seconds."""
    GARBAGE = "garbage"
    """Strangers send what is not HTTP/2, or begins like it."""


CUTS = {Kind.REFUSE: Cut.REFUSED, Kind.SILENCE: Cut.SILENT, Kind.FORGET: Cut.FORGOTTEN}

_SERVERS = (TEACHER, REPLAY, LEARNER)
_TOGETHER = ((LEARNER, REPLAY), (TEACHER, LEARNER), ACTORS, ROLES)
_SUDDEN = {
    Kind.TERMINATE,
    Kind.CORRUPT_STATE,
    Kind.CORRUPT_TABLES,
    Kind.TRUNCATE_RECORD,
    Kind.KILL_IN_CHECKPOINT,
}
"""Over as soon as they are done: their roles are started again at once."""
_SHORT_SECONDS = (0.5, 5.0)
_LONG_SECONDS = (11.0, 15.0)
"""Longer than the deadlines of most calls, which are 10 s."""
_LONG_SHARE = 0.15


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        kind: What is done.
        roles: To whom, all at once.
        seconds: For how long.
    """

    kind: Kind
    roles: tuple[str, ...]
    seconds: float

    @property
    def whom(self) -> str:
        """Its roles as a word."""
        return "all" if set(self.roles) == set(ROLES) else "+".join(self.roles)


def deck() -> list[tuple[Kind, tuple[str, ...]]]:
    """Every kind with every role, and with some together."""
    each = [(role,) for role in ROLES]
    cards = [(Kind.KILL, roles) for roles in (*each, *_TOGETHER)]
    cards += [(Kind.HANG, roles) for roles in (*each, *_TOGETHER)]
    cards += [(kind, roles) for kind in (Kind.REFUSE, Kind.SILENCE) for roles in (*each, ROLES)]
    cards += [(kind, (role,)) for kind in (Kind.FORGET, Kind.TERMINATE) for role in _SERVERS]
    cards += [(Kind.TERMINATE, (role,)) for role in (EVALUATOR, ACTORS[0])]
    cards += [(Kind.KILL_IN_CHECKPOINT, (role,)) for role in (LEARNER, REPLAY)]
    cards += [
        (kind, (LEARNER, REPLAY))
        for kind in (Kind.CORRUPT_STATE, Kind.CORRUPT_TABLES, Kind.TRUNCATE_RECORD)
    ]
    strange = (Kind.HALF_SENT, Kind.GARBAGE)
    cards += [(kind, roles) for kind in strange for roles in (*((r,) for r in _SERVERS), _SERVERS)]
    cards += [(Kind.DISK_SLOW, ()), (Kind.DISK_SLOW, (LEARNER, REPLAY))]
    return cards + [(Kind.DISK_FULL, roles) for roles in ((), (LEARNER,), (REPLAY,))]


def draw_faults(
    count: int, seed: int, kinds: Collection[Kind] = frozenset(Kind)
) -> Iterator[Fault]:
    """Faults by a seed: the deck is shuffled, dealt, and shuffled again.

    Args:
        count: How many.
        seed: Of order and seconds.
        kinds: Which may be drawn.
    """
    order = random.Random(seed)
    cards: list[tuple[Kind, tuple[str, ...]]] = []
    for _ in range(count):
        if not cards:
            cards = [card for card in deck() if card[0] in kinds]
            order.shuffle(cards)
        kind, roles = cards.pop()
        yield Fault(kind=kind, roles=roles, seconds=_seconds(kind, order))


def _seconds(kind: Kind, order: random.Random) -> float:
    if kind in (Kind.DISK_FULL, Kind.DISK_SLOW):
        return order.uniform(8.0, 14.0)
    if kind in _SUDDEN or (kind is Kind.KILL and order.random() < 0.5):
        return 0.0
    is_long = order.random() < _LONG_SHARE
    return order.uniform(*(_LONG_SECONDS if is_long else _SHORT_SECONDS))
