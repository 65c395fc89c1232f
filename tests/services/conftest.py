"""Real certificates, by authorities that exist for one test session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trustme


class Authority:
    """A certificate authority with a folder to write its certificates into."""

    def __init__(self, folder: Path, name: str) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.roots = folder / f"{name}.pem"
        self.ca.cert_pem.write_to_path(self.roots)

    def issue(self, name: str, *names: str, **settings: Any) -> tuple[Path, Path]:
        """Write a certificate for `names` and its key."""
        made = self.ca.issue_cert(*(names or ("localhost",)), **settings)
        chain, key = self.folder / f"{name}.cert.pem", self.folder / f"{name}.key.pem"
        _replace(chain, b"".join(pem.bytes() for pem in made.cert_chain_pems))
        _replace(key, made.private_key_pem.bytes())
        return chain, key


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the certificates that services show."""
    return Authority(tmp_path_factory.mktemp("authority"), "ca")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the other side does not know."""
    return Authority(tmp_path_factory.mktemp("stranger"), "ca")
