"""The security of a server: TLS, client certificates (mTLS) and bearer tokens.

    connection ── TLS handshake ──▶ call ── interceptors ──▶ servicer
                      │                          └ UNAUTHENTICATED: no token, or not one of ours
                      └ refused: no certificate of the client authority (mTLS)

Certificates and tokens can be replaced while the service runs: new connections use new
certificates, new calls new tokens.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import grpc

from rrl_client.credentials import (
    Watched,
    is_loopback,
    read_authorities,
    read_key_pair,
)
from services.shared.errors import UserError, user_errors

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecurityConfig:
    """TLS and tokens of a service; by default only its address protects it.

    Attributes:
        certificate: PEM file with the server's certificate chain, its own certificate first;
            enables TLS.
        private_key: PEM file with the key of the certificate, without a passphrase.
        client_ca: PEM file with certificate authorities; clients must then present a certificate
            signed by one of them (mTLS).
        token_file: File with bearer tokens, one per line; calls must carry one of them.
        missing_tokens_revoke: Whether all calls are refused once the token file is deleted or
            empty; otherwise its last tokens stay valid until it has new ones.
    """

    certificate: Path | None = None
    private_key: Path | None = None
    client_ca: Path | None = None
    token_file: Path | None = None
    missing_tokens_revoke: bool = False

    def __post_init__(self) -> None:
        """Check that the settings are complete."""
        if (self.certificate is None) != (self.private_key is None):
            missing = "certificate" if self.certificate is None else "private_key"
            raise ValueError(f"{missing} is not set; TLS needs both certificate and private_key")
        if self.missing_tokens_revoke and self.token_file is None:
            raise ValueError("missing_tokens_revoke is set without a token_file; name the file")
        if self.client_ca is not None and not self.uses_tls:
            raise ValueError(
                f"client_ca is {self.client_ca} without TLS; client certificates are shown in its "
                "handshake: set certificate and private_key too"
            )

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.certificate is not None


def check_exposure(config: SecurityConfig, host: str) -> None:
    """Refuse to let tokens travel unencrypted over a network.

    Args:
        config: The service's security.
        host: Where it listens: a name, an address, or "unix:PATH".

    Raises:
        UserError: Tokens are required without TLS, and `host` is open to other machines.
    """
    if config.token_file is None or config.uses_tls or _stays_here(host):
        return
    raise UserError(
        f"a token would travel unencrypted to {host or 'every address'}, for anybody on the way to "
        "read; set a certificate and private key (TLS), or listen on 127.0.0.1"
    )


def warn_of_exposure(config: SecurityConfig, host: str, *, name: str) -> None:
    """Warn if a service open to other machines lacks TLS or authentication; call it once.

    Client certificates authenticate callers as tokens do.

    Args:
        config: The service's security.
        host: Where it listens: a name, an address, or "unix:PATH".
        name: Name of the service, e.g. "the learner".
    """
    lacks, settings = [], []
    if not config.uses_tls:
        lacks.append("encryption")
        settings.append("--certificate and --private-key (TLS)")
    if config.token_file is None and config.client_ca is None:
        lacks.append("authentication")
        settings.append("--token-file or --client-ca (over TLS)")
    if lacks and not _stays_here(host):
        _LOG.warning(
            "%s listens on %s without %s; set %s, or --host 127.0.0.1 to keep it to this machine "
            "(docs/security.md)",
            name,
            host or "every address",
            " or ".join(lacks),
            " and ".join(settings),
        )


def _stays_here(host: str) -> bool:
    return host.startswith(("unix:", "unix-abstract:")) or is_loopback(host)


def server_credentials(config: SecurityConfig) -> grpc.ServerCredentials | None:
    """The credentials for `add_secure_port`.

    New connections use replaced certificate files. A certificate that does not fit its key is
    ignored with a warning, so the order of writing does not matter.

    Returns:
        The credentials; None without TLS.

    Raises:
        UserError: A file is missing or not PEM, or the key is not the certificate's.
    """
    if config.certificate is None or config.private_key is None:
        return None
    paths = (config.certificate, config.private_key)
    authorities = config.client_ca

    def read() -> Callable[[], grpc.ServerCertificateConfiguration]:
        chain, key = read_key_pair(*paths)
        client_ca = None if authorities is None else read_authorities(authorities)
        # A new one each time, because gRPC consumes it.
        return lambda: grpc.ssl_server_certificate_configuration([(key, chain)], client_ca)

    with user_errors():
        watched = Watched((*paths, authorities) if authorities is not None else paths, read)
    served = watched.current()

    def on_connection() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        newest = watched.current()
        if newest is served:
            return None
        served = newest
        return newest()

    return grpc.dynamic_ssl_server_credentials(
        served(),
        on_connection,  # type: ignore[arg-type]  # None is allowed, says gRPC.
        require_client_authentication=authorities is not None,
    )
