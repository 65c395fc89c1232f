"""Where the roles of a run on this machine listen, for commands such as `rrl status`.

`rrl train` writes them into the run's folder at its start. What stands there is only good for as
long as it lives, which its lock tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rrl_client.addresses import parse_address
from services.launcher.run_records import read_record, write_record

ADDRESSES_FILE = ".addresses.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunAddresses:
    """Addresses, "host:port", by name.

    Attributes:
        services: What roles ask each other at: "learner", "teacher", "replay-0", "control-0" …
        pages: Metrics pages, by role: "learner", "actor-0" …
    """

    services: Mapping[str, str]
    pages: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        for address in (*self.services.values(), *self.pages.values()):
            parse_address(address)

    @property
    def lines(self) -> tuple[str, str]:
        """What a user reads of them."""
        services = ", ".join(f"{name} at {address}" for name, address in self.services.items())
        pages = ", ".join(f"{name} at {address}" for name, address in self.pages.items())
        return services, f"metrics pages: {pages}"


def write_addresses(run: Path, addresses: RunAddresses) -> None:
    """Write them into a run's folder."""
    write_record(run / ADDRESSES_FILE, addresses)


def read_addresses(run: Path) -> RunAddresses | None:
    """Read them; None where none were written.

    Raises:
        UserError: the file holds something else.
    """
    return read_record(run / ADDRESSES_FILE, RunAddresses)
