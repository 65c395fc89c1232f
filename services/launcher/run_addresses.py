"""Where the roles of a run on this machine listen, for whoever wants to look at it.

`rrl train` writes them into the run's folder at its start. What stands there is only good for as
long as it lives, which its lock tells.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.durable_files import write_whole
from rrl_agents.typed_json import decode, encode
from rrl_client.addresses import parse_address
from services.shared.errors import UserError

ADDRESSES_FILE = ".addresses.json"

_MAX_FILE_BYTES = 2**20


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


def write_addresses(run: Path, addresses: RunAddresses) -> None:
    """Write them into a run's folder, whole or not at all."""
    write_whole(run / ADDRESSES_FILE, json.dumps(encode(addresses), indent=1))


def read_addresses(run: Path) -> RunAddresses | None:
    """Read them; None where nobody wrote any.

    Raises:
        UserError: the file holds something else.
    """
    file = run / ADDRESSES_FILE
    if not file.exists():
        return None
    try:
        text = read_bounded(file, _MAX_FILE_BYTES, what="a run's addresses")
        return decode(RunAddresses, json.loads(text), ADDRESSES_FILE)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{file} does not hold a run's addresses ({error}); give --learner-address and "
            "--metrics instead"
        ) from error
