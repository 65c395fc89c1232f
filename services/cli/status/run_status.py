"""A run's progress, from its roles' answers or from its folder.

It shows what one reading of a metrics page gives; rates, which take two, are left to Grafana.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

from rrl_client import ClientSecurity
from services.cli.metrics_pages import Page, read_pages
from services.cli.status.sources import ask_learner, read_folder
from services.launcher.progress_display import saved_updates
from services.launcher.run_addresses import RunAddresses
from services.learner.v1.learner_pb2 import GetProgressResponse
from services.shared.addresses import parse_address
from services.shared.errors import UserError

_UNANSWERED = 'rrl_actor_queries_total{result="unanswered"}'

_NO_LEARNER = "no learner is known; if one is running, give --learner-address and --metrics"

READINGS = {
    "rrl_teacher_queue_rows": "{:,.0f} rows waiting",
    "rrl_replay_items": "{:,.0f} items",
    "rrl_replay_samples_per_insert": "replay ratio {:.2f}",
    "rrl_replay_samples_per_insert_target": "asked {:.2f}",
    "rrl_learner_answered_share": "{:.1%} of rows answered",
    "rrl_actor_episode_return": "last return {:.2f}",
    "rrl_actor_weights_lag_updates": "weights {:,.0f} updates behind",
    "rrl_actor_weights_age_seconds": "{:,.1f} s old",
    _UNANSWERED: "{:,.0f} queries unanswered",
}
"""Metric -> format of its value in words."""


@dataclasses.dataclass(frozen=True)
class Role:
    """A role that was queried.

    Attributes:
        name: E.g. "actor-0"; for a page given on the command line, the kind of role.
        address: The address queried.
        up: Whether it answered.
        readings: Numbers of its metrics page, by metric.
    """

    name: str
    address: str
    up: bool
    readings: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The newest checkpoint; None for unknown facts.

    Attributes:
        number: 1, 2, 3 …
        age_seconds: Since it was written.
        updates: Gradient steps that it holds.
    """

    number: int | None = None
    age_seconds: float | None = None
    updates: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run at one moment.

    Attributes:
        run: Its folder; None without one.
        note: Why the learner's progress is unknown; None if it is known.
        progress: The learner's answer, else the progress in the newest checkpoint.
        checkpoint: The newest.
        roles: Those that were queried.
    """

    run: Path | None = None
    note: str | None = None
    progress: GetProgressResponse | None = None
    checkpoint: Checkpoint = Checkpoint()
    roles: tuple[Role, ...] = ()

    @property
    def up(self) -> bool:
        """Whether any role answered."""
        return any(role.up for role in self.roles)


def look(run: Path | None, addresses: RunAddresses, peers: ClientSecurity) -> RunStatus:
    """Query every role once; read the folder if the learner does not answer.

    Args:
        run: Folder of the run; None without one.
        addresses: The roles to query.
        peers: TLS and credentials for the learner.

    Raises:
        UserError: no role answers and no folder is given, the folder is not a run, or a file is
            damaged.
    """
    address = addresses.services.get("learner")
    progress = ask_learner(address, peers) if address is not None else None
    pages = read_pages({name: parse_address(text) for name, text in addresses.pages.items()})
    roles = [_role(name, addresses.pages[name], page) for name, page in pages.items()]
    if address is not None:
        # The answer and the page belong to one role.
        readings = next((role.readings for role in roles if role.name == "learner"), {})
        others = (role for role in roles if role.name != "learner")
        roles = [Role("learner", address, progress is not None, readings), *others]
    known = (page for page in pages.values() if page is not None and page.role == "learner")
    page = next(known, Page())
    number = page.value("rrl_learner_checkpoint_number")
    written_at = page.value("rrl_learner_checkpoint_timestamp_seconds")
    note = None
    if progress is None:
        note = "the learner does not answer" if address is not None else _NO_LEARNER
    if note is not None and run is not None:
        found = read_folder(run)
        note += (
            "; this is as of the newest checkpoint" if found else "; the run has no checkpoint yet"
        )
        if found is not None:
            progress, newest = found
            number, written_at = newest.number, newest.written_at
    if run is None and not any(role.up for role in roles):
        raise UserError("no role answers; check that the roles are up, or give the run's folder")
    updates = None
    if progress is not None and progress.HasField("saved"):
        updates = saved_updates(progress)
    checkpoint = Checkpoint(
        number=None if number is None else int(number),
        # The clocks of two machines may differ a little.
        age_seconds=None if written_at is None else max(time.time() - written_at, 0.0),
        updates=updates,
    )
    return RunStatus(
        run=run, note=note, progress=progress, checkpoint=checkpoint, roles=tuple(roles)
    )


def _role(name: str, address: str, page: Page | None) -> Role:
    if name == address:
        # Given on the command line: named by its address until the page names the role.
        name = (page and page.role) or "unknown"
    if page is None:
        return Role(name, address, up=False)
    values = {metric: page.value(metric) for metric in READINGS}
    values[_UNANSWERED] = page.value("rrl_actor_queries_total", result="unanswered")
    readings = {metric: value for metric, value in values.items() if value is not None}
    return Role(name, address, up=True, readings=readings)
