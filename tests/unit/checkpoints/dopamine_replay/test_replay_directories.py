"""Which folder a saved buffer is read from, for each way in which users name an agent's data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rrl_agents.checkpoints.dopamine_replay.files import find_replay, replay_directories

FILES = (
    *(f"$store$_{name}" for name in ("observation", "action", "reward", "terminal")),
    *("add_count", "invalid_range"),
)


def save(directory: Path, *numbers: int) -> Path:
    """The names that Dopamine gives, without content, which is not looked at here."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        for name in FILES:
            (directory / f"{name}_ckpt.{number}.gz").touch()
    return directory


@pytest.mark.parametrize("named", ["", "checkpoints", "replay_logs"])
@pytest.mark.parametrize("holder", ["checkpoints", "replay_logs"])
def test_the_data_is_found_from_the_agents_directory_and_from_both_of_its_folders(
    tmp_path: Path, named: str, holder: str
) -> None:
    held = save(tmp_path / holder, 0, 7)
    for name in ("checkpoints", "replay_logs"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "ckpt.7").touch()
    files = find_replay(tmp_path / named)
    assert (files.directory, files.number) == (held, 7)
    assert find_replay(tmp_path / named, 0).number == 0
    assert replay_directories(tmp_path / named) == {held: [0, 7]}


def test_the_data_is_found_from_within_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = save(tmp_path / "replay_logs", 7)
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path / "checkpoints")
    assert os.path.samefile(find_replay(Path()).directory, held)


def test_a_folder_that_holds_data_is_meant_alone(tmp_path: Path) -> None:
    for name in ("checkpoints", "replay_logs"):
        save(tmp_path / name, 7)
        assert find_replay(tmp_path / name).directory == tmp_path / name
    with pytest.raises(
        ValueError, match=r"0 directories hold replay buffer 8 .*checkpoints holds \[7\]"
    ):
        find_replay(tmp_path / "checkpoints", 8)


def test_data_in_two_folders_is_chosen_by_its_number_or_by_its_name(tmp_path: Path) -> None:
    older, newer = save(tmp_path / "replay_logs", 0, 1), save(tmp_path / "checkpoints", 1, 2)
    assert find_replay(tmp_path, 0).directory == older
    assert find_replay(tmp_path, 2).directory == newer
    for number in (None, 1, 3):
        with pytest.raises(ValueError, match=r"checkpoints holds \[1, 2\].*replay_logs.*name one"):
            find_replay(tmp_path, number)


def test_a_folder_of_another_name_is_not_left(tmp_path: Path) -> None:
    save(tmp_path / "replay_logs", 7)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(ValueError, match="no replay buffer here.*checkpoints or replay_logs"):
        find_replay(tmp_path / "elsewhere")


def test_the_newest_whole_buffer_is_taken(tmp_path: Path) -> None:
    save(tmp_path, 3, 10)
    (tmp_path / "$store$_reward_ckpt.10.gz").unlink()
    assert find_replay(tmp_path).number == 3
    with pytest.raises(ValueError, match="buffer 10 lacks .*reward_ckpt.10.gz"):
        find_replay(tmp_path, 10)
