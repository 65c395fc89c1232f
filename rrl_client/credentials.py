"""Certificates and tokens on disk, and where a token may travel unencrypted.

What server and client share of their security; standard library only. Files are bounded, checked
when they are read, and read again when they change, so that both can be rotated without a restart.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

SHORTEST_TOKEN = 16
"""Characters; fewer could be guessed."""

MAX_FILE_BYTES = 1 << 20
"""Largest certificate, key or token file read; a bundle of all public authorities has 230 KB."""

_LOG = logging.getLogger(__name__)

Value = TypeVar("Value")
_Stamp = tuple[int, int, int]


class Watched(Generic[Value]):
    """A value read from files, and again when one of them has changed; thread-safe.

    A change that cannot be read (half written, deleted, not fitting its partner) is logged once.
    The last good value is kept by default: a slip while rotating must not lock out
    everybody.
    """

    def __init__(
        self,
        paths: tuple[Path, ...],
        read: Callable[[], Value],
        otherwise: Callable[[], Value] | None = None,
    ) -> None:
        """Read for the first time.

        Args:
            paths: The files to watch.
            read: Makes the value from them.
            otherwise: The value while they cannot be read; None for the last good one.

        Raises:
            ValueError: What `read` says; only the first time.
        """
        self._paths = paths
        self._read = read
        self._otherwise = otherwise
        self._lock = threading.Lock()
        # Stamps are taken before the reading: a change in between shows as one afterwards.
        self._stamps = self._now()
        self._value = read()

    def current(self) -> Value:
        """The newest good value; costs one `stat` per file."""
        stamps = self._now()
        if stamps != self._stamps:
            with self._lock:
                self._reread(stamps)
        return self._value

    def _reread(self, stamps: tuple[_Stamp | None, ...]) -> None:
        if stamps == self._stamps:
            return  # Another thread was faster.
        self._stamps = stamps
        try:
            self._value = self._read()
        except ValueError as error:
            if self._otherwise is None:
                _LOG.warning("%s; going on with what was read before", error)
            else:
                self._value = self._otherwise()
                _LOG.warning("%s; what was read before counts no more", error)
        else:
            _LOG.info("read %s again", ", ".join(map(str, self._paths)))

    def _now(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> _Stamp | None:
    """Identifies the present content of a file; None if the file does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_bounded(path: Path, what: str) -> bytes:
    """Read a small file.

    Raises:
        ValueError: It cannot be read or is larger than `MAX_FILE_BYTES`; names `what` it is.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read the {what} {path} ({error.strerror or error})") from error
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"the {what} {path} has more than {MAX_FILE_BYTES} bytes; is it one?")
    return content


def read_authorities(path: Path) -> bytes:
    """Read certificates of authorities to trust.

    Returns:
        PEM text.

    Raises:
        ValueError: The file cannot be read or holds no certificate.
    """
    content = read_bounded(path, "certificate authority")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:  # ssl.SSLError is one.
        raise _no_pem("certificate authority", path) from error
    return content


def read_key_pair(certificate: Path, private_key: Path) -> tuple[bytes, bytes]:
    """Read a certificate chain and its private key.

    Args:
        certificate: PEM, own certificate first, then those between it and the authority.
        private_key: PEM, without a passphrase: services start unattended.

    Returns:
        PEM text of the chain and of the key.

    Raises:
        ValueError: A file cannot be read or is not PEM, or the key is not the certificate's.
    """
    chain, key = read_bounded(certificate, "certificate"), read_bounded(private_key, "private key")
    if b"-----BEGIN CERTIFICATE-----" not in chain:
        raise _no_pem("certificate", certificate)
    if b"PRIVATE KEY-----" not in key:
        raise _no_pem("private key", private_key)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, private_key, password=_no_passphrase(private_key))
    except OSError as error:
        raise ValueError(
            f"the private key {private_key} and the certificate {certificate} cannot be used "
            f"together ({error}); give PEM files that were made for each other"
        ) from error
    return chain, key


def _no_passphrase(private_key: Path) -> Callable[[], str]:
    """OpenSSL would ask for it on the terminal."""

    def refuse() -> str:
        raise ValueError(
            f"the private key {private_key} has a passphrase; remove it (openssl pkey -in ...) and "
            "guard the file by its permissions"
        )

    return refuse


def _no_pem(what: str, path: Path) -> ValueError:
    return ValueError(
        f"{path} is not a PEM {what}; it should contain '-----BEGIN ...' lines (openssl converts)"
    )


def read_tokens(path: Path) -> tuple[str, ...]:
    """Read bearer tokens, one per line; several are valid at once while clients change over.

    Raises:
        ValueError: The file cannot be read, holds no token, or one that cannot be used.
    """
    content = read_bounded(path, "token file")
    try:
        lines = content.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"the token file {path} holds more than ASCII; {_TOKEN_HINT}") from error
    tokens = tuple(line.strip() for line in lines if line.strip())
    if not tokens:
        raise ValueError(f"the token file {path} holds no token; {_TOKEN_HINT}")
    for token in tokens:
        check_token(token, f"a token in {path}")
    return tokens


def check_token(token: str, where: str) -> None:
    """Hold a token to what can be sent and cannot be guessed; the message does not show it.

    Raises:
        ValueError: It is too short, or has spaces or characters other than visible ASCII.
    """
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(
            f"{where} has {len(token)} characters, at least {SHORTEST_TOKEN} are needed; "
            f"{_TOKEN_HINT}"
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(
            f"{where} has characters other than visible ASCII, or spaces; {_TOKEN_HINT}"
        )


_TOKEN_HINT = "write one token per line, e.g. from `openssl rand -hex 32`"


def is_loopback(host: str) -> bool:
    """Whether packets to `host` stay on this machine.

    Args:
        host: Name or address, IPv6 with or without brackets. Names other than "localhost" are not
            looked up: what they mean can change.
    """
    bare = host.removeprefix("[").removesuffix("]")
    if bare.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
