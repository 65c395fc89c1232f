from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rrl_agents.checkpoints.find_checkpoint import complete_checkpoints, find_checkpoint


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


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """As the Lucid collection has them: TensorFlow's files only, no sentinel."""
    directory = tmp_path / "lucid/dqn/Pong/1"
    directory.mkdir(parents=True)
    for ending in ("index", "meta", "data-00000-of-00001"):
        (directory / f"tf_ckpt-199.{ending}").touch()
    return directory


@pytest.mark.parametrize(
    ("path", "number", "expected"),
    [
        # The newest by number, not by spelling.
        (".", None, 10),
        ("checkpoints", None, 10),
        (".", 3, 3),
        # A file that is named needs no sentinel.
        ("checkpoints/ckpt.11", None, 11),
        ("checkpoints/ckpt.11", 11, 11),
    ],
)
def test_the_newest_complete_checkpoint_or_the_one_that_is_asked_for_is_found(
    agent: Path, path: str, number: int | None, expected: int
) -> None:
    found = find_checkpoint(agent / path, number)
    assert found.number == expected
    assert found.files == (found.file,) == (agent / f"checkpoints/ckpt.{expected}",)
    assert found.agent == agent.resolve()


@pytest.mark.parametrize(
    ("path", "number"),
    [(".", 4), (".", 5), (".", 11), ("checkpoints/ckpt.3", 9), ("checkpoints/ckpt.12", None)],
)
def test_a_checkpoint_that_is_not_complete_is_an_error_that_lists_what_is(
    agent: Path, path: str, number: int | None
) -> None:
    found = r"\[3, 9, 10\]" if path == "." else r"\[\d+\]"
    message = f"checkpoint {number or 'N'} is not here or not complete, found {found}; .* sentinel"
    with pytest.raises(ValueError, match=message):
        find_checkpoint(agent / path, number)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere"), Path.mkdir])
def test_what_is_no_regular_file_is_no_checkpoint(
    agent: Path, make: Callable[[Path], None]
) -> None:
    (agent / "checkpoints/ckpt.10").unlink()
    make(agent / "checkpoints/ckpt.10")
    with pytest.raises(ValueError, match="the file ckpt.N"):
        find_checkpoint(agent)


def test_without_any_sentinel_the_newest_checkpoint_is_taken(agent: Path) -> None:
    """So come the published JAX agents: `jax/dqn_adam_mse/Pong/1/ckpt.199` alone."""
    for sentinel in (agent / "checkpoints").glob("sentinel*"):
        sentinel.unlink()
    assert find_checkpoint(agent).number == 11


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tf_ckpt-199",
        "tf_ckpt-199.index",
        "tf_ckpt-199.meta",
        "tf_ckpt-199.data-00000-of-00001",
    ],
)
def test_a_tensorflow_checkpoint_may_be_named_by_its_directory_prefix_or_any_file(
    published: Path, name: str
) -> None:
    index, data = published / "tf_ckpt-199.index", published / "tf_ckpt-199.data-00000-of-00001"
    found = find_checkpoint(published / name, 199)
    assert (found.file, found.files) == (index, (index, data))
    (published / "ckpt.199").touch()
    found = find_checkpoint(published / name, 199)
    assert found.files == (found.file, index, data) == (published / "ckpt.199", index, data)


@pytest.mark.parametrize("name", ["", "tf_ckpt-199.data-00000-of-00001"])
def test_a_tensorflow_checkpoint_without_its_index_is_an_error(published: Path, name: str) -> None:
    (published / "tf_ckpt-199.index").unlink()
    with pytest.raises(ValueError, match="not here or not complete, .* tf_ckpt-N.index"):
        find_checkpoint(published / name)


def test_where_no_checkpoint_is_the_error_says_what_is_there_instead(published: Path) -> None:
    with pytest.raises(ValueError, match="Pong: no complete checkpoint here, found '1'; give the"):
        find_checkpoint(published.parent)
    empty = published / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no complete checkpoint here, found nothing; give the"):
        find_checkpoint(empty)
    for name in ("\x1b[2J", *"abcdef"):
        (empty / name).touch()
    with pytest.raises(ValueError, match=r"found '\\x1b\[2J', 'a', 'b', 'c', 'd' and 2 more; give"):
        find_checkpoint(empty, 3)


def test_a_sentinel_completes_tensorflow_files_without_a_pickle(published: Path) -> None:
    (published / "sentinel_checkpoint_complete.99").touch()
    assert complete_checkpoints(published) == []
    (published / "sentinel_checkpoint_complete.199").touch()
    assert complete_checkpoints(published) == [199]


@pytest.mark.parametrize(
    "name",
    ["absent", "sentinel_checkpoint_complete.3", "ppo.model", "dqn.keras"],
)
def test_what_is_no_dopamine_agents_is_an_error_with_what_to_do_instead(
    tmp_path: Path, name: str
) -> None:
    if name != "absent":
        (tmp_path / name).write_bytes(b"\x80\x04never read")
    wanted = rf"{name}: no teacher's directory, ONNX file .* ckpt\.N "
    message = rf"{wanted}.*Baselines3.*by its name.*ONNX.*module:factory"
    with pytest.raises(ValueError, match=message):
        find_checkpoint(tmp_path / name)
