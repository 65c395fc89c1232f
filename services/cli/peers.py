"""What a command trusts and shows when it calls services: the flags `--peers.*`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_client import ClientSecurity
from rrl_client.security import check_security
from services.shared.errors import user_errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peers:
    """What is trusted and shown, one for all services called; with nothing set, plaintext.

    A token itself is no flag: other users of the machine can read command lines.

    Attributes:
        tls: Encrypt; implied by root_certificates, certificate and server_name_override. Alone it
            trusts the public authorities.
        root_certificates: PEM certificates of the authorities that may have signed the services'.
        certificate: PEM chain to show to services that ask for one (mTLS).
        private_key: PEM key of that certificate, without a passphrase.
        token_file: File whose first line is the bearer token; read again when it changes.
        server_name_override: Name expected in the services' certificates, where it is not the one
            in their addresses.
    """

    tls: bool = False
    root_certificates: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    token_file: Path | None = None
    server_name_override: str | None = None

    def security(self, *targets: str | None) -> ClientSecurity:
        """The settings for clients, checked before any of them is made.

        Args:
            targets: What they will call; None for nothing.

        Raises:
            UserError: a file cannot be used, or a token would travel unencrypted to a target.
        """
        with user_errors(prefix="--peers: "):
            settings = ClientSecurity(**dataclasses.asdict(self))
            check_security([target for target in targets if target is not None], settings)
        return settings
