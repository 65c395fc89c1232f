"""What a client of the teacher can be told, alike for the synchronous and the asyncio one."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Literal, get_args

from rrl_client.requests import Priority
from rrl_client.security import ClientSecurity

DEFAULT_TIMEOUT_SECONDS = 10.0

Transport = Literal["auto", "stream", "unary", "same_host"]
"""How queries travel: "auto" takes shared memory where there is any, else streams."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """A client's arguments, checked.

    Attributes:
        addresses: Of the teacher or its replicas, as `client_channel.parse_addresses` gives them.
        timeout_seconds: Deadline of every call that names none, above 0.
        model: Name of the model; empty for the server's first.
        version: Version number or hash that must answer; empty for the newest.
        priority: What the queries are for.
        transport: How they travel.
        security: What to trust and show; None for plaintext without a token.
    """

    addresses: tuple[str, ...]
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    model: str = ""
    version: str = ""
    priority: Priority = Priority.ACTING
    transport: Transport = "auto"
    security: ClientSecurity | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.timeout(self.timeout_seconds)
        if self.transport not in get_args(Transport):
            raise ValueError(
                f"transport is {self.transport!r}; choose from {', '.join(get_args(Transport))}"
            )
        if self.transport == "same_host" and len(self.addresses) > 1:
            raise ValueError(
                f"transport 'same_host' with {len(self.addresses)} replicas; shared memory leads "
                "to one server: give one address"
            )

    @property
    def name(self) -> str:
        """Whom errors name."""
        return ",".join(self.addresses)

    @property
    def shared_by(self) -> Hashable:
        """What clients must have in common to share connections."""
        return self.addresses, self.security, self.model, self.version, self.may_use_same_host

    @property
    def may_use_same_host(self) -> bool:
        """Whether shared memory comes into question; it leads to one server, not to replicas."""
        return len(self.addresses) == 1 and self.transport in ("auto", "same_host")

    def timeout(self, timeout_seconds: float | None) -> float:
        """The timeout of a call.

        Args:
            timeout_seconds: What the caller says; None for the client's own.

        Raises:
            ValueError: It is not above 0.
        """
        chosen = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        if not chosen > 0:
            raise ValueError(f"timeout_seconds is {chosen}; it must be above 0")
        return chosen
