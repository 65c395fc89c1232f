from __future__ import annotations

from pathlib import Path

import pytest

from rrl_agents.checkpoints.find_checkpoint import find_checkpoint


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """Checkpoints 3, 9 and 10; 11 was interrupted before its sentinel, 4's pickle was removed."""
    checkpoints = tmp_path / "1" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for number in (3, 9, 10, 11):
        (checkpoints / f"ckpt.{number}").touch()
    for number in (3, 4, 9, 10):
        (checkpoints / f"sentinel_checkpoint_complete.{number}").touch()
    (checkpoints / "ckpt.12.tmp").touch()
    return checkpoints.parent


def test_the_newest_complete_checkpoint_is_found_by_number_not_by_spelling(agent: Path) -> None:
    for path in (agent, agent / "checkpoints"):
        found = find_checkpoint(path)
        assert (found.number, found.file) == (10, agent / "checkpoints" / "ckpt.10")


def test_a_number_that_is_asked_for_is_taken(agent: Path) -> None:
    assert find_checkpoint(agent, 3).file.name == "ckpt.3"


def test_a_file_that_is_named_needs_no_sentinel(agent: Path) -> None:
    assert find_checkpoint(agent / "checkpoints/ckpt.11").number == 11


@pytest.mark.parametrize("number", [4, 5, 11])
def test_a_number_that_is_not_complete_is_an_error_that_lists_what_is(
    agent: Path, number: int
) -> None:
    with pytest.raises(
        ValueError,
        match=rf"checkpoint {number} needs .* found ckpt of \[3, 9, 10, 11\] and "
        r"sentinel_checkpoint_complete of \[3, 4, 9, 10\]",
    ):
        find_checkpoint(agent, number)


def test_without_any_sentinel_nothing_is_chosen(agent: Path) -> None:
    for sentinel in (agent / "checkpoints").glob("sentinel*"):
        sentinel.unlink()
    with pytest.raises(ValueError, match=r"a complete checkpoint needs .*complete of \[\]"):
        find_checkpoint(agent)


def test_a_directory_without_checkpoints_is_an_error_that_lists_its_entries(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match="found nothing"):
        find_checkpoint(tmp_path)
    for index in range(14):
        (tmp_path / f"f{index:02}").touch()
    with pytest.raises(ValueError, match="found f00, f01, .* f11 and 2 more"):
        find_checkpoint(tmp_path)


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or directory"):
        find_checkpoint(tmp_path / "absent")


def test_a_file_of_another_name_or_number_is_an_error(agent: Path) -> None:
    with pytest.raises(ValueError, match=r"files are named ckpt\.N"):
        find_checkpoint(agent / "checkpoints/sentinel_checkpoint_complete.3")
    with pytest.raises(ValueError, match="this is checkpoint 3, not 9"):
        find_checkpoint(agent / "checkpoints/ckpt.3", 9)
