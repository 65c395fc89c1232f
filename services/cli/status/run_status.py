"""Where a run stands, as its roles answer now, or as its folder tells."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

from rrl_client import ClientSecurity
from services.cli.metrics_pages.page import Page, read_pages
from services.cli.status.readings import readings_of
from services.cli.status.run_folder import read_folder
from services.cli.status.sources import ask_learner, learner_works_on
from services.launcher.progress_display import saved_updates
from services.launcher.run_addresses import RunAddresses
from services.learner.v1.learner_pb2 import GetProgressResponse
from services.shared.addresses import parse_address
from services.shared.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Role:
    """A role that was asked.

    Attributes:
        name: E.g. "actor-0"; of a page of the command line, the kind of role.
        address: Where it was asked.
        up: Whether it answered.
        readings: Numbers of its metrics page, by metric.
    """

    name: str
    address: str
    up: bool
    readings: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The newest checkpoint; None where it is unknown.

    Attributes:
        number: 1, 2, 3 …
        age_seconds: Since it was written.
        updates: Gradient steps that it holds.
    """

    number: int | None
    age_seconds: float | None
    updates: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run as it stands.

    Attributes:
        run: Its folder; None without one.
        note: Why the learner's progress is unknown; None where it is known.
        progress: The learner's answer, else what the newest checkpoint tells.
        checkpoint: The newest; None where it is unknown.
        roles: Those that were asked.
    """

    run: Path | None = None
    note: str | None = None
    progress: GetProgressResponse | None = None
    checkpoint: Checkpoint | None = None
    roles: tuple[Role, ...] = ()

    @property
    def up(self) -> bool:
        """Whether any role answered."""
        return any(role.up for role in self.roles)


def look(run: Path | None, addresses: RunAddresses, peers: ClientSecurity) -> RunStatus:
    """Ask every role once, and the folder where the learner does not answer.

    Args:
        run: Folder of the run; None without one.
        addresses: The roles to ask.
        peers: What to trust and show at the learner.

    Raises:
        UserError: no role answers and there is no folder, it is no run's, or a file is damaged.
    """
    learner = addresses.services.get("learner")
    progress = ask_learner(learner, peers) if learner is not None else None
    pages = read_pages({name: parse_address(text) for name, text in addresses.pages.items()})
    status = RunStatus(
        run=run,
        progress=progress,
        checkpoint=_checkpoint(progress, pages),
        roles=_roles(addresses, progress, pages),
    )
    if progress is not None:
        return status
    note = _why_unknown(status, asked=learner is not None)
    if run is None and not status.up:
        raise UserError(f"{note}; check that the roles are up, or give the run's folder")
    if run is None:
        return dataclasses.replace(status, note=note)
    found = read_folder(run)
    if found is None:
        return dataclasses.replace(status, note=f"{note}; the run has no checkpoint yet")
    progress, newest = found
    checkpoint = Checkpoint(
        number=newest.number,
        age_seconds=_age_seconds(newest.written_at),
        updates=saved_updates(progress),
    )
    note = f"{note}; this is as of the newest checkpoint"
    return dataclasses.replace(status, note=note, progress=progress, checkpoint=checkpoint)


def _why_unknown(status: RunStatus, *, asked: bool) -> str:
    """Why the run's progress is unknown."""
    if status.up:
        return "the learner does not answer" if asked else "give --learner-address for the progress"
    if status.roles:
        return "no role answers"
    if status.run is not None and learner_works_on(status.run):
        return "a learner works on this run; give --learner-address and --metrics to ask it"
    return "no role of this run is up on this machine"


def _roles(
    addresses: RunAddresses,
    progress: GetProgressResponse | None,
    pages: Mapping[str, Page | None],
) -> tuple[Role, ...]:
    """Every role once: the learner's answer and its page are of one role."""
    roles = [_role(name, addresses.pages[name], page) for name, page in pages.items()]
    address = addresses.services.get("learner")
    if address is None:
        return tuple(roles)
    page = next((role for role in roles if role.name == "learner"), None)
    readings = page.readings if page is not None else {}
    learner = Role(name="learner", address=address, up=progress is not None, readings=readings)
    return (learner, *(role for role in roles if role is not page))


def _role(name: str, address: str, page: Page | None) -> Role:
    if name == address:
        # Of the command line: named by its address until it says which role it is.
        name = (page.role if page is not None else None) or "unknown"
    readings = readings_of(page) if page is not None else {}
    return Role(name=name, address=address, up=page is not None, readings=readings)


def _checkpoint(
    progress: GetProgressResponse | None, pages: Mapping[str, Page | None]
) -> Checkpoint | None:
    """As the learner and its page tell."""
    known = (page for page in pages.values() if page is not None and page.role == "learner")
    page = next(known, Page())
    number = page.value("rrl_learner_checkpoint_number")
    written_at = page.value("rrl_learner_checkpoint_timestamp_seconds")
    is_saved = progress is not None and progress.HasField("saved")
    if number is None and not is_saved:
        return None
    return Checkpoint(
        number=None if number is None else int(number),
        age_seconds=None if written_at is None else _age_seconds(written_at),
        updates=saved_updates(progress) if progress is not None and is_saved else None,
    )


def _age_seconds(written_at: float) -> float:
    # The clocks of two machines may differ a little.
    return max(time.time() - written_at, 0.0)
