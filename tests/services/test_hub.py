"""Teachers from and to a Hugging Face Hub on loopback, by the Hub's own library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants
from huggingface_hub.repocard import metadata_load

from rrl_agents.checkpoints.teacher_card import CARD_FILE, ONNX_POLICY_FILE, PARAMS_FILE, read_card
from services.cli.main import run as rrl
from services.cli.teacher_push import push
from services.library.catalogue import BUNDLED_DIRECTORY
from services.library.hub import parse_hub
from services.library.teacher_references import open_reference
from services.shared.errors import UserError
from tests.support.hub_server import TOKEN, HubServer, commit_of, running_hub

PONG = BUNDLED_DIRECTORY / "pong_dqn"
SB3 = Path(__file__).parents[1] / "fixtures/other_agents/sb3_ppo_cart_pole/model.zip"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub that the library asks, and an empty cache; no token."""
    with running_hub() as server:
        # As HF_ENDPOINT does when the library is imported.
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        # Its other way to upload asks a service of its own.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))
        yield server


def teacher_files() -> dict[str, bytes]:
    return {name: (PONG / name).read_bytes() for name in (CARD_FILE, PARAMS_FILE)}


def test_a_teachers_directory_of_a_repository_is_downloaded_once(hub: HubServer) -> None:
    hub.commits["org/pong"] = [{**teacher_files(), "notes.md": b"of no use here"}]
    directory = open_reference("hf://org/pong")
    assert isinstance(directory, Path)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == teacher_files()
    asked = len(hub.asked)
    assert open_reference("hf://org/pong") == directory
    assert len(hub.asked) == asked


def test_a_revision_stays_what_it_is(hub: HubServer) -> None:
    first = teacher_files()
    other = {CARD_FILE: first[CARD_FILE], "README.md": b"a later commit"}
    hub.commits["org/pong"] = [first, other]
    directory = open_reference(f"hf://org/pong@{commit_of(first)}")
    assert isinstance(directory, Path)
    assert (directory / PARAMS_FILE).read_bytes() == first[PARAMS_FILE]
    with pytest.raises(UserError, match="no such revision"):
        open_reference("hf://org/pong@v2")


def test_the_only_model_of_a_repository_is_imported_and_one_of_several_is_named(
    hub: HubServer,
) -> None:
    model = SB3.read_bytes()
    hub.commits["sb3/ppo"] = [{"ppo.zip": model, "README.md": b"", "logs/other.zip": b""}]
    directory = open_reference("hf://sb3/ppo")
    assert isinstance(directory, Path)
    assert read_card(directory / CARD_FILE).algorithm == "PPO"
    hub.commits["sb3/two"] = [{"ppo.zip": model, "dqn.zip": b""}]
    with pytest.raises(UserError, match=r"several models \(dqn.zip, ppo.zip\); name one"):
        open_reference("hf://sb3/two")
    # The same content was imported before.
    assert open_reference("hf://sb3/two/ppo.zip") == directory


def test_a_private_repository_opens_to_the_users_token_which_no_other_host_sees(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commits["org/secret"], hub.private = [teacher_files()], {"org/secret"}
    with pytest.raises(UserError, match=r"no such repository, or it is private .*hf auth login"):
        open_reference("hf://org/secret")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    open_reference("hf://org/secret")
    assert hub.storage is not None
    (download,) = hub.storage.asked
    assert download[0] == "GET" and download[2] is None


def test_what_is_not_as_announced_is_refused_and_removed(hub: HubServer, tmp_path: Path) -> None:
    hub.commits["org/pong"], hub.damaged = [teacher_files()], True
    with pytest.raises(UserError, match=r"the download differs from what the Hub announced"):
        open_reference("hf://org/pong")
    assert not [*(tmp_path / "cache").rglob(CARD_FILE)]
    hub.damaged = False
    open_reference("hf://org/pong")


@pytest.mark.parametrize(
    "text", ["hf://org", "hf://org/a/../b", "hf://or g/repo", "hf://org/repo@", "hf://-org/repo"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="give hf://ORG/REPO"):
        parse_hub(text)


# The Hub's library uploads in a way that the library below it has another name for.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_pushed_teacher_comes_back_and_its_card_is_one_of_the_hubs(
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UserError, match="token"):
        push("pong_dqn", "hf://org/pong")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push("pong_dqn", "hf://org/pong", private=True)
    assert hub.private == {"org/pong"}
    content = hub.commits["org/pong"][-1]
    assert content.keys() == {CARD_FILE, PARAMS_FILE, "README.md"}
    card = read_card(PONG / CARD_FILE)
    assert card.score is not None
    readme = tmp_path / "README.md"
    readme.write_bytes(content["README.md"])
    about = metadata_load(readme)
    assert about is not None
    (model,) = about["model-index"]
    (metric,) = model["results"][0]["metrics"]
    assert metric["type"] == "mean_reward"
    assert metric["value"] == f"{card.score.mean_return:.2f} +/- {card.score.std_return:.2f}"
    assert about["rrl"]["parameters_sha256"] == card.parameters_sha256
    assert about["rrl"]["protocol"]["frames_per_step"] == 4
    assert "reinforcement-learning" in about["tags"]
    assert yaml.safe_load(yaml.safe_dump(about)) == about

    capsys.readouterr()
    assert rrl(["teacher", "fetch", "hf://org/pong"]) == 0
    printed = capsys.readouterr().out
    assert card.name in printed and "--checkpoint hf://org/pong" in printed
    assert rrl(["teacher", "inspect", "hf://org/pong"]) == 0


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_push_replaces_the_teacher_that_was_there(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    other = {CARD_FILE: b"{}", ONNX_POLICY_FILE: b"of another teacher", "notes.md": b"stay"}
    hub.commits["org/pong"] = [other]
    push("pong_dqn", "hf://org/pong")
    assert hub.commits["org/pong"][-1].keys() == {*teacher_files(), "README.md", "notes.md"}
    open_reference("hf://org/pong")


def test_nothing_private_goes_into_a_repository_that_is_public(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.commits["org/pong"] = [{}]
    with pytest.raises(UserError, match="hf://org/pong is public, and nothing was uploaded"):
        push("pong_dqn", "hf://org/pong", private=True)
    assert hub.commits["org/pong"] == [{}]


def test_a_reference_is_written_as_it_is_read() -> None:
    for text in ("hf://org/repo@refs%2Fpr%2F1/a/dqn.zip", "hf://org/repo@v1.0", "hf://org/repo"):
        assert str(parse_hub(text)) == text


def test_flags_of_public_agents_are_refused_beside_a_url(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert rrl(["teacher", "fetch", "hf://org/pong", "--list", "--max-gib", "1"]) == 2
    assert "--list, --max-gib: only for public agents" in capsys.readouterr().err


def test_only_a_repository_is_pushed_to(hub: HubServer) -> None:
    with pytest.raises(UserError, match="give a repository alone"):
        push("pong_dqn", "hf://org/pong@main")
