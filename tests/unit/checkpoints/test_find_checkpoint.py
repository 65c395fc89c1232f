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
        assert (found.number, found.pickle) == (10, agent / "checkpoints" / "ckpt.10")
        assert found.tensorflow_prefix is None


def test_a_number_that_is_asked_for_is_taken(agent: Path) -> None:
    assert find_checkpoint(agent, 3).pickle == agent / "checkpoints" / "ckpt.3"


def test_a_file_that_is_named_needs_no_sentinel(agent: Path) -> None:
    assert find_checkpoint(agent / "checkpoints/ckpt.11").number == 11


@pytest.mark.parametrize("number", [4, 5, 11])
def test_a_number_that_is_not_complete_is_an_error_that_lists_what_is(
    agent: Path, number: int
) -> None:
    with pytest.raises(
        ValueError,
        match=rf"checkpoint {number} needs .* found ckpt\.N of \[3, 9, 10, 11\], .* and "
        r"sentinel_checkpoint_complete\.N of \[3, 4, 9, 10\]",
    ):
        find_checkpoint(agent, number)


def test_a_link_that_leads_nowhere_is_an_error_with_its_path(agent: Path) -> None:
    broken = agent / "checkpoints" / "ckpt.10"
    broken.unlink()
    broken.symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"ckpt\.10: no regular file"):
        find_checkpoint(agent)


def test_without_any_sentinel_the_newest_checkpoint_is_taken(agent: Path) -> None:
    """So come the published JAX agents: `jax/dqn_adam_mse/Pong/1/ckpt.199` alone."""
    for sentinel in (agent / "checkpoints").glob("sentinel*"):
        sentinel.unlink()
    assert find_checkpoint(agent).number == 11


def test_sentinels_without_any_checkpoint_of_theirs_are_an_error(agent: Path) -> None:
    for pickle in (agent / "checkpoints").glob("ckpt.*"):
        pickle.unlink()
    with pytest.raises(ValueError, match=r"a complete checkpoint needs .* found ckpt\.N of \[\],"):
        find_checkpoint(agent)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """As the Lucid collection has them: TensorFlow's files only, no sentinel."""
    directory = tmp_path / "lucid/dqn/Pong/1"
    directory.mkdir(parents=True)
    for ending in ("index", "meta", "data-00000-of-00001"):
        (directory / f"tf_ckpt-199.{ending}").touch()
    return directory


def test_tensorflow_files_alone_are_a_checkpoint(published: Path) -> None:
    found = find_checkpoint(published)
    assert (found.number, found.pickle) == (199, None)
    assert found.tensorflow_prefix == published / "tf_ckpt-199"
    assert found.file == published / "tf_ckpt-199.index"


@pytest.mark.parametrize(
    "name",
    ["tf_ckpt-199", "tf_ckpt-199.index", "tf_ckpt-199.meta", "tf_ckpt-199.data-00000-of-00001"],
)
def test_a_tensorflow_checkpoint_may_be_named_by_its_prefix_or_any_file(
    published: Path, name: str
) -> None:
    (published / "ckpt.199").touch()
    found = find_checkpoint(published / name, 199)
    assert found.tensorflow_prefix == published / "tf_ckpt-199"
    assert found.pickle == published / "ckpt.199"


def test_a_tensorflow_checkpoint_without_its_index_is_an_error(published: Path) -> None:
    (published / "tf_ckpt-199.index").unlink()
    with pytest.raises(ValueError, match=r"tf_ckpt-199\.index is missing beside it"):
        find_checkpoint(published / "tf_ckpt-199.data-00000-of-00001")
    with pytest.raises(ValueError, match="no complete checkpoint here, found tf_ckpt-199.data"):
        find_checkpoint(published)


def test_a_sentinel_completes_tensorflow_files_without_a_pickle(published: Path) -> None:
    (published / "sentinel_checkpoint_complete.99").touch()
    with pytest.raises(ValueError, match=r"tf_ckpt-N of \[199\] and .* of \[99\]"):
        find_checkpoint(published)
    (published / "sentinel_checkpoint_complete.199").touch()
    assert find_checkpoint(published).number == 199


def test_a_directory_without_checkpoints_is_an_error_that_lists_its_entries(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match="found nothing"):
        find_checkpoint(tmp_path)
    for index in range(14):
        (tmp_path / f"f{index:02}").touch()
    with pytest.raises(ValueError, match="found f00, f01, .* f11 and 2 more"):
        find_checkpoint(tmp_path)


def test_names_of_files_are_escaped_in_errors(tmp_path: Path) -> None:
    (tmp_path / "\x1b[31mred").touch()
    with pytest.raises(ValueError, match=r"found '\\x1b\[31mred';"):
        find_checkpoint(tmp_path)


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or directory"):
        find_checkpoint(tmp_path / "absent")


def test_a_file_of_another_name_or_number_is_an_error(agent: Path) -> None:
    with pytest.raises(ValueError, match=r"files are named ckpt\.N or tf_ckpt-N"):
        find_checkpoint(agent / "checkpoints/sentinel_checkpoint_complete.3")
    with pytest.raises(ValueError, match="this is checkpoint 3, not 9"):
        find_checkpoint(agent / "checkpoints/ckpt.3", 9)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("ppo.zip", "Stable-Baselines3"),
        ("dqn.pt", "PyTorch"),
        ("DQN.PTH", "PyTorch"),
        ("dqn_atari.cleanrl_model", "CleanRL"),
    ],
)
def test_a_model_of_another_library_is_named_with_what_to_do_instead(
    tmp_path: Path, name: str, what: str
) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04never read")
    with pytest.raises(ValueError, match=f"{name}: .*{what}.*never run.*ONNX.*module:factory"):
        find_checkpoint(tmp_path / name)
