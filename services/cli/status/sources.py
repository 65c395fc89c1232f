"""Where a run's roles are asked, and one look at all of them.

RUN/.addresses.json, or flags ─▶ Sources ── scrape ──▶ Scrape (learner's answer, metrics pages)
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rrl_agents.types import Progress
from rrl_client import ClientSecurity
from rrl_client.addresses import Address
from services.cli.metrics_pages.page import Page, page_address, read_pages
from services.launcher.progress_display import stages
from services.launcher.progress_estimates import StageProgress
from services.launcher.run_addresses import RunAddresses, read_addresses
from services.learner.codec import progress_from_proto
from services.learner.progress_client import ProgressClient
from services.learner.weight_client import LearnerUnavailable
from services.shared.addresses import parse_address
from services.shared.errors import user_errors
from services.shared.locks import LAUNCHER_LOCK, LEARNER_LOCK, is_locked

_ANSWER_SECONDS = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """Whom to ask.

    Attributes:
        learner: "host:port" of the learner; None where nobody knows it.
        pages: Metrics pages by name.
        peers: How to prove oneself to the learner.
    """

    learner: str | None
    pages: Mapping[str, Address]
    peers: ClientSecurity = ClientSecurity()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerAnswer:
    """What a learner says of its run.

    Attributes:
        progress: Clocks and returns.
        stages: How far each stage is, in order.
        updates_per_second: Over the last stretch.
        losses: Mean of each term over it, by name.
        seconds: Of all sessions so far.
        saved_updates: Updates that the newest checkpoint holds; None before the first.
    """

    progress: Progress
    stages: tuple[StageProgress, ...]
    updates_per_second: float
    losses: Mapping[str, float]
    seconds: float
    saved_updates: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scrape:
    """Everything at one moment.

    Attributes:
        taken: Seconds of a clock that never goes back.
        learner: Its answer; None where none came.
        pages: By name; None for those that did not come.
    """

    taken: float
    learner: LearnerAnswer | None
    pages: Mapping[str, Page | None]

    @property
    def lives(self) -> bool:
        """Whether anybody answered."""
        return self.learner is not None or any(page is not None for page in self.pages.values())


def find_sources(
    run: Path | None,
    learner_address: str | None,
    metrics: Sequence[str],
    peers: ClientSecurity,
) -> Sources:
    """Whom to ask: whom the flags name, else what `rrl train` wrote into the run's folder.

    Raises:
        UserError: an address is none, or the folder's file is damaged.
    """
    if learner_address is not None or metrics:
        # By address: a page that is given twice, in two spellings, is one role's.
        pages = {str(address): address for address in map(page_address, metrics)}
        learner = None if learner_address is None else str(parse_address(learner_address))
        return Sources(learner=learner, pages=pages, peers=peers)
    found = addresses_of_living(run) if run is not None else None
    if found is None:
        return Sources(learner=None, pages={}, peers=peers)
    return Sources(
        learner=found.services.get("learner"),
        pages={name: parse_address(text) for name, text in found.pages.items()},
        peers=peers,
    )


def addresses_of_living(run: Path) -> RunAddresses | None:
    """Where the roles of `rrl train` on this machine listen; None where it does not run.

    Addresses of one that has ended may be others' by now.
    """
    return read_addresses(run) if _is_held(run / LAUNCHER_LOCK) else None


def learner_works_on(run: Path) -> bool:
    """Whether a learner on this machine works on a run, wherever it listens."""
    return _is_held(run / LEARNER_LOCK)


def scrape(sources: Sources) -> Scrape:
    """Ask everybody once; who does not answer in a few seconds is away.

    Raises:
        UserError: the credentials cannot be used.
    """
    pages = read_pages(sources.pages)
    learner = _ask(sources.learner, sources.peers) if sources.learner is not None else None
    return Scrape(taken=time.monotonic(), learner=learner, pages=pages)


def _is_held(lock: Path) -> bool:
    # Asking makes the file, which a run of roles on several machines has no need of.
    return lock.exists() and is_locked(lock)


def _ask(address: str, peers: ClientSecurity) -> LearnerAnswer | None:
    with user_errors():
        client = ProgressClient(address, timeout_seconds=_ANSWER_SECONDS, security=peers)
    with contextlib.closing(client):
        try:
            answer = client.progress()
            return LearnerAnswer(
                progress=progress_from_proto(answer.progress),
                stages=stages(answer),
                updates_per_second=answer.updates_per_second,
                losses=dict(answer.losses),
                seconds=answer.seconds,
                saved_updates=answer.saved.offline_updates + answer.saved.online_updates
                if answer.HasField("saved")
                else None,
            )
        except (LearnerUnavailable, ValueError):
            return None
