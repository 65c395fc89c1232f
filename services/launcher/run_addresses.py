"""Where the roles of a run on this machine listen, for whoever wants to look at it.

`rrl train` writes them into the run's folder at its start. What stands there is only good for as
long as it lives, which its lock tells.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from rrl_agents.durable_files import write_whole
from services.shared.addresses import parse_address
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


def write_addresses(run: Path, addresses: RunAddresses) -> None:
    """Write them into a run's folder, whole or not at all."""
    write_whole(run / ADDRESSES_FILE, json.dumps(dataclasses.asdict(addresses), indent=1))


def read_addresses(run: Path) -> RunAddresses | None:
    """Read them; None where nobody wrote any.

    Raises:
        UserError: the file holds something else.
    """
    file = run / ADDRESSES_FILE
    try:
        with file.open("rb") as content:
            text = content.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror or error})") from error
    try:
        if len(text) > _MAX_FILE_BYTES:
            raise ValueError(f"more than {_MAX_FILE_BYTES} bytes")
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return RunAddresses(
            services=_addresses(found.get("services")), pages=_addresses(found.get("pages"))
        )
    except (ValueError, RecursionError, UserError) as error:
        raise UserError(
            f"{file} does not hold a run's addresses ({error}); give --learner-address and "
            "--metrics instead"
        ) from error


def _addresses(found: object) -> dict[str, str]:
    if not isinstance(found, dict):
        raise ValueError("services or pages is missing")
    return {str(name): str(parse_address(str(text))) for name, text in found.items()}
