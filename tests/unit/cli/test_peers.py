"""The flags `--peers.*`: checked before a role begins its work."""

from __future__ import annotations

from pathlib import Path

import pytest
import tyro

from rrl_client import ClientSecurity
from services.cli.peers import Peers
from services.shared.errors import UserError

TOKEN = "0123456789abcdef"


def test_flags_become_the_clients_settings_and_by_default_there_are_none(tmp_path: Path) -> None:
    assert Peers().security("learner.example:50053", None) == ClientSecurity()
    (tmp_path / "token").write_text(TOKEN)
    flags = [f"--token-file={tmp_path / 'token'}", "--server-name-override=learner"]
    security = tyro.cli(Peers, args=flags).security("10.0.0.1:50053")
    wanted = ClientSecurity(token_file=tmp_path / "token", server_name_override="learner")
    assert security == wanted


def test_a_token_is_sent_unencrypted_to_this_machine_alone(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    peers = Peers(token_file=tmp_path / "token")
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
