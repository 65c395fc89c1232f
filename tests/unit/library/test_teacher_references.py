"""References to teachers: what each opens, what is imported once, and what a crash leaves behind.

Most tests run the reader in this process, where its calls can be counted.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.import_foreign import import_foreign
from rrl_agents.checkpoints.params_codec import params_hash
from rrl_agents.checkpoints.sealed_json import seal
from rrl_agents.checkpoints.teacher_card import CARD_FILE, read_card
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from services.library import teacher_references
from services.library.catalogue import BUNDLED_DIRECTORY
from services.library.teacher_references import import_reference, open_reference
from services.shared.errors import UserError

PONG = BUNDLED_DIRECTORY / "pong_dqn"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imported"


@pytest.fixture
def agent(tmp_path: Path, fixtures: Path) -> Path:
    """A Dopamine agent with one checkpoint, to change at will."""
    source = fixtures / "dopamine4.0.6_flax0.6.11_jaxarray/1/checkpoints"
    (tmp_path / "agent" / "checkpoints").mkdir(parents=True)
    for name in ("ckpt.1", "sentinel_checkpoint_complete.1"):
        shutil.copy(source / name, tmp_path / "agent" / "checkpoints")
    return tmp_path / "agent"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that a reader has read, in this process."""
    found: list[str] = []

    def read(function: str, arguments: Mapping[str, Any], **_: object) -> None:
        assert function == "rrl_agents.checkpoints.import_foreign:import_foreign"
        found.append(Path(arguments["source"]).name)
        import_foreign(**{**arguments, "source": str(arguments["source"])})

    monkeypatch.setattr(teacher_references, "run_confined", read)
    return found


def opened(reference: Path | str) -> Path:
    found = open_reference(str(reference))
    assert isinstance(found, Path)
    return found


def in_store(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if not path.name.startswith("."))


def test_names_and_directories_are_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    assert opened("pong_dqn") == opened("Pong/dqn-bundled") == opened(PONG) == PONG
    monkeypatch.chdir(tmp_path)
    for folder in ("agent.onnx", "package:make"):
        shutil.copytree(PONG, folder)
        assert opened(folder) == Path(folder)
    assert reads == []


@pytest.mark.parametrize("entry_point", ["other_package.inner:make", "package:Make"])
def test_an_entry_point_stays_what_it_is(entry_point: str) -> None:
    assert open_reference(entry_point) == entry_point


@pytest.mark.parametrize(
    "reference",
    ["pong_dnq", "./pong_dqn", "nothing.onnx", "some/path:make", "package:", "3d:make", "a/b/c"],
)
def test_what_is_not_there_is_an_error_that_says_what_was_looked_for(reference: str) -> None:
    with pytest.raises(UserError, match=f"no teacher '{reference}': .* name .* directory .* ONNX"):
        open_reference(reference)


def test_a_url_is_downloaded_to_the_store_and_opened_as_a_path(
    store: Path, agent: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(url: str, root: Path, *, number: int | None) -> Path:
        asked.append((url, root, number))
        return agent

    with pytest.raises(UserError, match="ftp://host/policy.onnx: give a URL of https://"):
        open_reference("ftp://host/policy.onnx")
    monkeypatch.setattr("services.library.fetch.references.download_reference", download)
    assert opened("gs://bucket/dqn/agent") == opened(agent)
    assert set(asked) == {("gs://bucket/dqn/agent", store.parent / "downloads", None)}
    import_reference("gs://bucket/dqn/agent", number=1)
    assert asked[-1][2] == 1


def test_foreign_work_is_read_behind_the_wall_and_becomes_a_directory(
    store: Path, agent: Path
) -> None:
    directory = opened(agent)
    assert directory.parent == store
    assert load_teacher_directory(directory).card.name == "agent, Dopamine checkpoint 1"


def cut_off(folder: Path, fixtures: Path) -> Path:
    source = fixtures / "dopamine4.0.6_flax0.6.11_jaxarray/1/checkpoints/ckpt.1"
    (folder / "ckpt.1").write_bytes(source.read_bytes()[:-100])
    return folder


def ask_for_os_system(folder: Path, fixtures: Path) -> Path:
    class Asks:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {folder / 'ran'}",)

    (folder / "ckpt.1").write_bytes(pickle.dumps({"online_params": Asks()}))
    return folder / "ckpt.1"


def vouch_for_a_header_of_2_to_the_64_bytes(folder: Path, fixtures: Path) -> Path:
    shutil.copytree(PONG, folder, dirs_exist_ok=True)
    file = folder / "params.safetensors"
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])
    card = read_card(PONG / CARD_FILE)
    card = dataclasses.replace(card, parameters_sha256=params_hash(file.read_bytes()))
    (folder / CARD_FILE).write_text(card.to_json())
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (cut_off, r"ckpt\.1: reading it failed .*truncated\)\. .* cut off .* copy it again"),
        (ask_for_os_system, r"ckpt\.1: refused: the pickle asks for .*system"),
        (
            vouch_for_a_header_of_2_to_the_64_bytes,
            r"params\.safetensors: not whole safetensors .*too large",
        ),
    ],
)
def test_a_hostile_file_ends_at_the_door_in_one_error_and_leaves_nothing(
    store: Path, tmp_path: Path, fixtures: Path, make: Callable[[Path, Path], Path], message: str
) -> None:
    (tmp_path / "theirs").mkdir()
    file = make(tmp_path / "theirs", fixtures)
    before = sorted((tmp_path / "theirs").iterdir())
    with pytest.raises(UserError, match=message) as refused:
        import_reference(str(file), Hints(output="logits"))
    assert "\n" not in str(refused.value)
    assert in_store(store) == list(store.glob(".*.tmp")) == []
    assert sorted((tmp_path / "theirs").iterdir()) == before


def test_what_was_imported_is_found_the_next_time_and_not_read_again(
    store: Path, agent: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(agent)
    assert opened(agent) == opened(agent / "checkpoints") == first
    assert opened(agent / "checkpoints/ckpt.1") == first
    assert reads == ["ckpt.1"]
    # Where it lies is no part of what it is.
    shutil.copytree(agent, agent.parent / "elsewhere" / "agent")
    assert opened(agent.parent / "elsewhere" / "agent") == first
    monkeypatch.chdir(agent)
    assert opened("checkpoints/ckpt.1") == opened(".") == first
    assert reads == ["ckpt.1"]


def test_another_content_name_or_word_of_the_user_is_imported_again(
    store: Path, agent: Path, reads: list[str]
) -> None:
    first = opened(agent)
    said = import_reference(str(agent), Hints(game="pong"))
    named = import_reference(str(agent), name="mine")
    assert read_card(said / CARD_FILE).game == "pong"
    assert read_card(named / CARD_FILE).name == "mine"
    with (agent / "checkpoints/ckpt.1").open("ab") as file:
        # A pickle ends at its stop: another content with the same parameters.
        file.write(b"more")
    assert len({first, said, named, opened(agent)}) == 4 == len(reads)


def test_a_checkpoint_that_is_added_is_the_newest(
    store: Path, agent: Path, reads: list[str]
) -> None:
    first = opened(agent)
    for name in ("ckpt", "sentinel_checkpoint_complete"):
        shutil.copy(agent / f"checkpoints/{name}.1", agent / f"checkpoints/{name}.2")
    second = opened(agent)
    assert "Dopamine checkpoint 2" in read_card(second / CARD_FILE).name
    assert import_reference(str(agent), number=1) == first
    assert reads == ["ckpt.1", "ckpt.2"]
    with pytest.raises(UserError, match="checkpoint 3 is not here"):
        import_reference(str(agent), number=3)


def test_a_file_beyond_every_bound_is_not_even_read_for_its_digest(
    store: Path, tmp_path: Path, reads: list[str]
) -> None:
    with (tmp_path / "policy.onnx").open("wb") as file:
        file.truncate(2**32 + 1)
    with pytest.raises(UserError, match="4294967297 bytes to import, at most 4294967296 are read"):
        opened(tmp_path / "policy.onnx")
    assert reads == []


def test_two_at_once_read_once(
    store: Path, agent: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = teacher_references.run_confined

    def slowly(*arguments: Any, **named: Any) -> None:
        # The other one has started by now, and waits for the lock.
        threading.Event().wait(0.5)
        read(*arguments, **named)

    monkeypatch.setattr(teacher_references, "run_confined", slowly)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.map(opened, [agent, agent])
    assert first == second
    assert reads == ["ckpt.1"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from services.library import teacher_references

def half(function, arguments, **_):
    Path(arguments["destination"]).mkdir()
    (Path(arguments["destination"]) / "card.json").write_text("{")
    os.kill(os.getpid(), signal.SIGKILL)

teacher_references.run_confined = half
teacher_references.open_reference(sys.argv[1])
"""


def test_a_kill_in_between_leaves_nothing_half(store: Path, agent: Path, reads: list[str]) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(agent)], check=False)
    assert killed.returncode == -9
    assert in_store(store) == []
    assert list(store.glob(".*.tmp"))
    assert load_teacher_directory(opened(agent)).card.num_actions == 6
    assert list(store.glob(".*.tmp")) == []


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_between_leaves_nothing(
    store: Path, agent: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(function: str, arguments: Mapping[str, Any], **_: object) -> None:
        arguments["destination"].mkdir()
        raise failure

    monkeypatch.setattr(teacher_references, "run_confined", fail)
    with pytest.raises((UserError, KeyboardInterrupt)):
        open_reference(str(agent))
    assert in_store(store) == list(store.glob(".*.tmp")) == []


def test_files_that_change_while_they_are_read_are_not_taken(
    store: Path, agent: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    read = teacher_references.run_confined

    def changing(*arguments: Any, **named: Any) -> None:
        read(*arguments, **named)
        with (agent / "checkpoints/ckpt.1").open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(teacher_references, "run_confined", changing)
    with pytest.raises(UserError, match=r"ckpt\.1 changed while it was read; try again"):
        open_reference(str(agent))
    assert in_store(store) == []


def test_a_store_that_cannot_be_written_serves_what_was_imported_before(
    store: Path, agent: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(agent)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", read_only)
    assert opened(agent) == first
    with pytest.raises(UserError, match=r"cannot be written \(Read-only .*RRL_CACHE .*import"):
        import_reference(str(agent), Hints(game="pong"))


@pytest.fixture
def fetched(store: Path, agent: Path) -> Path:
    """The agent as it is fetched, which knows its game."""
    directory = store.parent / "checkpoints/Pong/dqn400-run1"
    shutil.copytree(agent, directory)
    (directory / "source.json").write_text(seal({"game": "Pong"}))
    return directory


def game_of(directory: Path) -> str:
    return read_card(directory / CARD_FILE).game


def test_a_fetched_agent_knows_its_game(
    fetched: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert game_of(opened("Pong/dqn400-run1")) == "Pong"
    assert game_of(import_reference("pong/dqn400-run1", Hints(game="pong"))) == "Pong"
    with pytest.raises(UserError, match="plays Pong, not breakout"):
        import_reference("Pong/dqn400-run1", Hints(game="breakout"))
    # From inside its directories, too.
    monkeypatch.chdir(fetched / "checkpoints")
    assert game_of(opened("ckpt.1")) == "Pong"


@pytest.mark.parametrize(
    "content", ["", "[" * 9999, *map(seal, ({}, {"game": 3}, {"game": "../.."}))]
)
def test_a_source_that_says_no_game_is_an_error(
    fetched: Path, reads: list[str], content: str
) -> None:
    (fetched / "source.json").write_text(content)
    with pytest.raises(UserError, match=r"source\.json"):
        open_reference("Pong/dqn400-run1")
