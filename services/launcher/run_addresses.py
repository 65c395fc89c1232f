"""The addresses of a run's roles on this machine, for commands such as `rrl status`.

`rrl train` writes them into the run's folder at its start. They are valid while it runs, that is,
while its lock is held.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rrl_client.addresses import parse_address
from services.shared.run_records import read_record, write_record

ADDRESSES_FILE = ".addresses.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunAddresses:
    """Addresses, "host:port", by name.

    Attributes:
        services: Addresses of services: "learner", "teacher", "replay-0", "control-0" …
        pages: Metrics pages, by role: "learner", "actor-0" …
    """

    services: Mapping[str, str]
    pages: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse invalid addresses."""
        for address in (*self.services.values(), *self.pages.values()):
            parse_address(address)

    @property
    def lines(self) -> tuple[str, str]:
        """The lines to show to a user."""
        services = ", ".join(f"{name} at {address}" for name, address in self.services.items())
        pages = ", ".join(f"{name} at {address}" for name, address in self.pages.items())
        return services, f"metrics pages: {pages}"


def write_addresses(run: Path, addresses: RunAddresses) -> None:
    """Write them into a run's folder."""
    write_record(run / ADDRESSES_FILE, addresses)


def read_addresses(run: Path) -> RunAddresses | None:
    """Read them; None if none were written.

    Raises:
        UserError: the file is damaged or foreign.
    """
    return read_record(run / ADDRESSES_FILE, RunAddresses)
