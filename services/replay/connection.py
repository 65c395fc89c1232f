"""Connecting to the replay server and reading its tables' counts; shared by writer and reader."""

from __future__ import annotations

import dataclasses
import gc
import math
import socket
import threading
import time
from typing import Any

from rrl_client.credentials import is_loopback
from rrl_client.proxies import tell_of_proxy
from services.replay.failures import ReplayTimeout
from services.replay.item_layout import ROWS_COLUMN, ItemLayout
from services.replay.reverb_library import reverb
from services.replay.tables import table_signature
from services.shared.addresses import parse_address
from services.shared.errors import UserError

_CONNECT_RETRY_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableCounts:
    """Counts of a table.

    Attributes:
        size: Items in the table now.
        inserted: Items ever inserted; a restored table continues the count of its checkpoint.
        sampled: Items ever sampled, including those that readers have prefetched; a restored table
            continues this count, too.
        takes_inserts: Whether the rate limiter would allow an insert now.
        gives_samples: Whether the rate limiter would allow a sample now.
    """

    size: int
    inserted: int
    sampled: int
    takes_inserts: bool
    gives_samples: bool


def table_counts(address: str, *, timeout_seconds: float = 10.0) -> dict[str, TableCounts]:
    """The counts of all tables by name.

    Raises:
        ReplayTimeout: no answer in time.
    """
    return {
        name: TableCounts(
            size=int(info.current_size),
            inserted=int(info.rate_limiter_info.insert_stats.completed),
            sampled=int(info.rate_limiter_info.sample_stats.completed),
            takes_inserts=_takes_inserts(info.rate_limiter_info),
            gives_samples=_gives_samples(int(info.current_size), info.rate_limiter_info),
        )
        for name, info in server_info(reverb.Client(address), address, timeout_seconds).items()
    }


def wait_for_tables(
    address: str, stop: threading.Event, timeout_seconds: float
) -> dict[str, TableCounts] | None:
    """The counts of all tables once the server answers; None if `stop` is set first.

    Raises:
        UserError: no answer in time.
    """
    end = time.monotonic() + timeout_seconds
    while not stop.is_set():
        try:
            return table_counts(address, timeout_seconds=1.0)
        except ReplayTimeout as error:
            if time.monotonic() > end:
                raise UserError(
                    f"{error}; start the replay server, or check its address (--replay-address)"
                ) from error
    return None


def reset_table(address: str, table: str) -> None:
    """Remove all items of a table and set its counts to 0."""
    reverb.Client(address).reset(table)


def _takes_inserts(limiter: Any) -> bool:
    """Whether the limiter allows an insert: Reverb bounds inserted * samples_per_insert - sampled.

    An insert raises that number by samples_per_insert, a sample lowers it by 1.
    """
    inserted, sampled = limiter.insert_stats.completed, limiter.sample_stats.completed
    if inserted + 1 <= limiter.min_size_to_sample:
        return True
    return bool((inserted + 1) * limiter.samples_per_insert - sampled <= limiter.max_diff)


def _gives_samples(size: int, limiter: Any) -> bool:
    """Whether the limiter allows a sample, by the same rule."""
    inserted, sampled = limiter.insert_stats.completed, limiter.sample_stats.completed
    if size < limiter.min_size_to_sample:
        return False
    return bool(inserted * limiter.samples_per_insert - (sampled + 1) >= limiter.min_diff)


def connect(address: str, table: str, layout: ItemLayout, *, timeout_seconds: float) -> Any:
    """A `reverb.Client` of a server that has this table, with items of this layout.

    Waits for the server to start.

    Raises:
        ReplayTimeout: no answer in time.
        UserError: no such table, or one whose items have other shapes.
    """
    _wait_until_listening(address, timeout_seconds)
    host = parse_address(address).host
    if not is_loopback(host):
        tell_of_proxy(host)
    # gRPC gives a new client the connection of an old client, dead or not, until the old client is
    # freed; as part of a reference cycle it stays until the garbage collector runs.
    gc.collect()
    client = reverb.Client(address)
    tables = server_info(client, address, timeout_seconds)
    if table not in tables:
        raise UserError(
            f"the replay server at {address} has no table {table!r}, only {sorted(tables)}; "
            "point to the replay server of this experiment"
        )
    check_signature(table, tables[table].signature, layout)
    return client


def _wait_until_listening(address: str, timeout_seconds: float) -> None:
    """Try to connect until it succeeds: gRPC itself may pause for 20 s between two attempts."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            with socket.create_connection(parse_address(address), timeout=_CONNECT_RETRY_SECONDS):
                return
        except OSError as error:
            if time.monotonic() >= deadline:
                raise ReplayTimeout(
                    f"no replay server listens at {address} after {timeout_seconds:g} s ({error})"
                ) from error
            time.sleep(_CONNECT_RETRY_SECONDS)


def check_signature(table: str, signature: Any, layout: ItemLayout) -> None:
    """Check that a table holds items of a layout.

    Raises:
        UserError: it holds items of other shapes.
    """
    wanted = table_signature(layout)
    if signature != wanted:
        held = signature.get(ROWS_COLUMN) if isinstance(signature, dict) else None
        raise UserError(
            f"replay table {table!r} holds items of {held.name if held else signature}, but this "
            f"experiment has {wanted[ROWS_COLUMN].name}; use the run directory of the same "
            "environment, frame stack and n-step"
        )


def server_info(client: Any, address: str, timeout_seconds: float) -> dict[str, Any]:
    """Reverb's `TableInfo` by table.

    Raises:
        ReplayTimeout: no answer in time (Reverb rounds the timeout up to whole seconds), or the
            connection broke.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        left = deadline - time.monotonic()
        try:
            return dict(client.server_info(max(1, math.ceil(left))))
        except (reverb.errors.DeadlineExceededError, RuntimeError) as error:
            # RuntimeError: the connection's server has ended; a retry reconnects.
            is_late = isinstance(error, reverb.errors.DeadlineExceededError)
            if is_late or left <= _CONNECT_RETRY_SECONDS:
                raise ReplayTimeout(
                    f"no replay server answered at {address} within {timeout_seconds:g} s ({error})"
                ) from error
        time.sleep(_CONNECT_RETRY_SECONDS)
