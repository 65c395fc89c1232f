"""Where the roles of a run are asked, and the learner's answer; `metrics_pages` reads the pages."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from rrl_client import ClientSecurity
from services.cli.metrics_pages.page import page_address
from services.launcher.run_addresses import RunAddresses, read_addresses
from services.learner.client import LearnerClient, LearnerUnavailable
from services.learner.codec import progress_from_proto
from services.learner.v1.learner_pb2 import GetProgressResponse
from services.shared.addresses import parse_address
from services.shared.errors import user_errors
from services.shared.locks import LAUNCHER_LOCK, LEARNER_LOCK, is_locked

_ANSWER_SECONDS = 3.0


def find_roles(
    run: Path | None, learner_address: str | None, metrics: Sequence[str]
) -> RunAddresses:
    """The roles that the flags name, else those that `rrl train` wrote into the run's folder.

    The addresses of a run that has ended may belong to other processes by now: they do not count.

    Raises:
        UserError: an address is none, or the folder's file is damaged.
    """
    if learner_address is not None or metrics:
        # By address: a page that is given twice, in two spellings, is one role's.
        pages = {str(address): str(address) for address in map(page_address, metrics)}
        services = {} if learner_address is None else {"learner": learner_address}
        parsed = {name: str(parse_address(text)) for name, text in services.items()}
        return RunAddresses(services=parsed, pages=pages)
    is_running = run is not None and _is_held(run / LAUNCHER_LOCK)
    found = read_addresses(run) if run is not None and is_running else None
    return found or RunAddresses(services={}, pages={})


def learner_works_on(run: Path) -> bool:
    """Whether a learner on this machine works on a run, wherever it listens."""
    return _is_held(run / LEARNER_LOCK)


def ask_learner(address: str, peers: ClientSecurity) -> GetProgressResponse | None:
    """The progress of a run; None where the learner does not answer in a few seconds.

    Raises:
        UserError: the credentials cannot be used.
    """
    with user_errors():
        client = LearnerClient(address, timeout_seconds=_ANSWER_SECONDS, security=peers)
    with contextlib.closing(client), contextlib.suppress(LearnerUnavailable, ValueError):
        answer = client.progress()
        progress_from_proto(answer.progress)  # ValueError: another version's, of another stage
        return answer
    return None


def _is_held(lock: Path) -> bool:
    # Asking makes the file, which a run of roles on several machines has no need of.
    return lock.exists() and is_locked(lock)
