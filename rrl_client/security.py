"""TLS, certificates and tokens of a client; needs only grpcio.

    security = ClientSecurity(root_certificates=Path("ca.pem"), token_file=Path("token"))
    channel = make_channel("teacher.example:50051", security)

Every call sends the token as the metadata "authorization: Bearer TOKEN", but only over TLS, or
without TLS on this machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from rrl_client.addresses import endpoints
from rrl_client.credentials import (
    Watched,
    check_token,
    is_loopback,
    read_authorities,
    read_key_pair,
    read_tokens,
)
from rrl_client.forks import note_connection
from rrl_client.proxies import tell_of_proxy
from rrl_client.token_channel import TokenChannel, TokenMetadata, bearer_metadata

Options = Sequence[tuple[str, Any]]
"""Channel arguments of gRPC."""

_UNIX_SCHEMES = ("unix:", "unix-abstract:")
_UNIX_NAME = "localhost"
# gRPC's own words, newer and older.
_NAME_DIFFERS = ("Hostname Verification Check failed", "is not in peer certificate")
_NOT_TRUSTED = "CERTIFICATE_VERIFY_FAILED"
_SPEAKS_NO_TLS = "WRONG_VERSION_NUMBER"
_SAYS_NOTHING = "Socket closed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientSecurity:
    """Certificates to trust, and credentials to show; by default plaintext without a token.

    Attributes:
        tls: Encrypt; implied by each of the next three and by `server_name_override`. On its own it
            trusts the public CAs that gRPC includes.
        root_certificates: PEM certificates of the CAs to trust.
        certificate: PEM chain to show to a server that asks for one (mTLS).
        private_key: PEM key of `certificate`, without a passphrase.
        token: Bearer token, at least 16 characters.
        token_file: File whose first line is the token, reloaded when it changes; instead of
            `token`.
        server_name_override: Name expected in the server's certificate, if it is not the one
            in the address; for a Unix socket the default is "localhost".
    """

    tls: bool = False
    root_certificates: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    token: str | None = dataclasses.field(default=None, repr=False)
    token_file: Path | None = None
    server_name_override: str | None = None

    def __post_init__(self) -> None:
        """Check the combination of settings."""
        if (self.certificate is None) != (self.private_key is None):
            missing = "certificate" if self.certificate is None else "private_key"
            raise ValueError(f"{missing} is not set; give certificate and private_key together")
        if self.token is not None and self.token_file is not None:
            raise ValueError("both token and token_file are set; give one")
        if self.token is not None:
            check_token(self.token, "token")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        implied = (self.root_certificates, self.certificate, self.server_name_override)
        return self.tls or any(setting is not None for setting in implied)

    @property
    def has_token(self) -> bool:
        """Whether calls carry a token."""
        return self.token is not None or self.token_file is not None


def make_channel(
    target: str, security: ClientSecurity | None = None, options: Options = ()
) -> grpc.Channel:
    """A channel for blocking calls and futures.

    Args:
        target: gRPC target: "host:port", "dns:///name:port", "ipv4:...,...", "unix:/path".
        security: Certificates and token; None for plaintext without a token.
        options: Channel arguments.

    Raises:
        ValueError: A file cannot be used, or a token would travel unencrypted over a network.
        Forked: This process was forked from one that has channels.
    """
    channel: grpc.Channel = _make(grpc, target, security, options)
    return channel


def make_async_channel(
    target: str, security: ClientSecurity | None = None, options: Options = ()
) -> grpc.aio.Channel:
    """A channel for asyncio; arguments and errors as for `make_channel`."""
    channel: grpc.aio.Channel = _make(grpc.aio, target, security, options)
    return channel


def _make(api: Any, target: str, security: ClientSecurity | None, options: Options) -> Any:
    security = security or ClientSecurity()
    metadata, options = _token_metadata(security), _options(security, target, options)
    credentials = _channel_credentials(security)
    note_connection()
    channel = (
        api.insecure_channel(target, options)
        if credentials is None
        else api.secure_channel(target, credentials, options)
    )
    return channel if metadata is None else TokenChannel(channel, metadata)


def check_security(targets: Sequence[str], security: ClientSecurity | None) -> None:
    """Check that channels to the targets can be made.

    Raises:
        ValueError: A file cannot be used, or a token would travel unencrypted over a network.
    """
    security = security or ClientSecurity()
    _token_metadata(security)
    _channel_credentials(security)
    for target in targets:
        _options(security, target, ())


def handshake_advice(details: str) -> str | None:
    """What to do about a server whose certificate the client rejected.

    Args:
        details: gRPC's message for the failed call.

    Returns:
        The setting that helps, to follow "unavailable (...); "; None if a
        certificate was not the reason.
    """
    if any(said in details for said in _NAME_DIFFERS):
        return (
            "its certificate lacks this name: use one of the certificate's "
            "names, or give one as server_name_override of ClientSecurity, on the command line "
            "--peers.server-name-override"
        )
    if _NOT_TRUSTED in details:
        return (
            "its certificate has expired, or no authority trusted here has signed it: give that "
            "authority's as root_certificates of ClientSecurity, on the command line "
            "--peers.root-certificates"
        )
    if _SPEAKS_NO_TLS in details:
        return "it does not use TLS: connect without it (no root_certificates, no --peers settings)"
    return None


def refusal_advice(details: str) -> str | None:
    """As `handshake_advice`, with a likely reason if the server says nothing."""
    if (advice := handshake_advice(details)) is None and _SAYS_NOTHING in details:
        return (
            "it is stopping, or accepts TLS only: for TLS give its certificate's authority as "
            "root_certificates of ClientSecurity, on the command line --peers.root-certificates"
        )
    return advice


def is_local_target(target: str) -> bool:
    """Whether every address of a gRPC target is on this machine, without resolving names."""
    if target.startswith(_UNIX_SCHEMES):
        return True
    if target.startswith("dns://") and not target.startswith("dns:///"):
        return False  # That DNS server decides what the name means.
    return all(map(is_loopback, _hosts(target)))


def _hosts(target: str) -> list[str]:
    return [_host(address) for address in endpoints(target)]


def _host(address: str) -> str:
    host, colon, port = address.rpartition(":")
    is_port = colon and port.isdigit() and (":" not in host or host.endswith("]"))
    return host if is_port else address


def _options(security: ClientSecurity, target: str, options: Options) -> list[tuple[str, Any]]:
    """The channel arguments for the settings, with the caller's."""
    made = [*options]
    # By default gRPC expects a certificate with the socket's path, which none has.
    default_name = _UNIX_NAME if target.startswith(_UNIX_SCHEMES) else None
    name = security.server_name_override or default_name
    if security.uses_tls and name is not None:
        made.append(("grpc.ssl_target_name_override", name))
    if is_local_target(target):
        # gRPC obeys http_proxy even for this machine, which a proxy cannot reach and a token must
        # not leave.
        made.append(("grpc.enable_http_proxy", 0))
        return made
    if security.has_token and not security.uses_tls:
        raise ValueError(
            f"a token would travel unencrypted to {target}; give root_certificates (or tls) "
            "for TLS, or leave out the token"
        )
    for host in _hosts(target):
        tell_of_proxy(host)
    return made


def _channel_credentials(security: ClientSecurity) -> grpc.ChannelCredentials | None:
    if not security.uses_tls:
        return None
    roots = security.root_certificates
    chain, key = None, None
    if security.certificate is not None and security.private_key is not None:
        chain, key = read_key_pair(security.certificate, security.private_key)
    return grpc.ssl_channel_credentials(
        None if roots is None else read_authorities(roots), private_key=key, certificate_chain=chain
    )


def _token_metadata(security: ClientSecurity) -> TokenMetadata | None:
    """Returns the metadata of the next call; None without a token."""
    if security.token is not None:
        constant = bearer_metadata(security.token)
        return lambda: constant
    file = security.token_file
    if file is None:
        return None
    return Watched((file,), lambda: bearer_metadata(read_tokens(file)[0])).current
