"""TLS and credentials of a command that calls services: the flags `--peers.*`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_client import ClientSecurity
from rrl_client.security import check_security
from services.shared.errors import user_errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peers:
    """TLS and credentials for all services that are called; plaintext by default.

    There is no flag for the token itself, because other users of the machine can read command
    lines.

    Attributes:
        tls: Encrypt with TLS. Without root_certificates the public certificate authorities are
            trusted. Implied by root_certificates, certificate and server_name_override.
        root_certificates: PEM file with the certificate authorities to trust for the services'
            certificates.
        certificate: PEM file with the client's certificate chain, for services that
            require one (mTLS).
        private_key: PEM file with the key of that certificate, without a passphrase.
        token_file: File whose first line is the bearer token; reread when it changes.
        server_name_override: Name expected in the services' certificates, if it differs from that
            in their addresses.
    """

    tls: bool = False
    root_certificates: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    token_file: Path | None = None
    server_name_override: str | None = None

    def security(self, *targets: str | None) -> ClientSecurity:
        """The settings for clients, checked before a client is made.

        Args:
            targets: The addresses they will call; None is skipped.

        Raises:
            UserError: a file cannot be used, or a token would travel unencrypted to a target.
        """
        with user_errors(prefix="--peers: "):
            settings = ClientSecurity(**dataclasses.asdict(self))
            check_security([target for target in targets if target is not None], settings)
        return settings
