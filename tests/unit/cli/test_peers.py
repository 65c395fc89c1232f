"""The flags `--peers.*`: checked before a role begins its work."""

from __future__ import annotations

from pathlib import Path

import pytest
import tyro

from rrl_client import ClientSecurity
from services.cli.peers import Peers
from services.shared.errors import UserError

TOKEN = "0123456789abcdef"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


def test_with_nothing_set_clients_speak_plaintext_to_anybody() -> None:
    assert Peers().security("learner.example:50053", None) == ClientSecurity()


def test_flags_become_the_clients_settings(token_file: Path) -> None:
    flags = [f"--token-file={token_file}", "--server-name-override=learner"]
    security = tyro.cli(Peers, args=flags).security("10.0.0.1:50053")
    assert security == ClientSecurity(token_file=token_file, server_name_override="learner")


def test_a_token_is_sent_unencrypted_to_this_machine_alone(token_file: Path) -> None:
    peers = Peers(token_file=token_file)
    peers.security("127.0.0.1:50051", "localhost:50053")
    with pytest.raises(UserError, match=r"--peers: .*unencrypted to learner:50053"):
        peers.security("127.0.0.1:50051", "learner:50053")


@pytest.mark.parametrize(
    ("peers", "reason"),
    [
        (Peers(root_certificates=Path("absent.pem")), "cannot read the certificate authority"),
        (Peers(certificate=Path("c.pem")), "private_key is not set"),
        (Peers(token_file=Path("absent")), "cannot read the token file"),
    ],
)
def test_files_that_cannot_be_used_are_named_at_once(peers: Peers, reason: str) -> None:
    with pytest.raises(UserError, match=f"--peers: {reason}"):
        peers.security("localhost:50051")


def test_a_token_itself_is_no_flag(capsys: pytest.CaptureFixture[str]) -> None:
    # Other users of a machine can read command lines.
    with pytest.raises(SystemExit):
        tyro.cli(Peers, args=[f"--token={TOKEN}"])
    assert "--token" in capsys.readouterr().err
