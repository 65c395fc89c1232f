from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.library.fetch.bucket import PUBLIC_ENDPOINT, parse_endpoint
from services.library.fetch.download import Checksums, RemoteFile
from services.library.fetch.public_agents import (
    RemoteCheckpoint,
    agent_names,
    checkpoint_number,
    checkpoints_of,
    public_agent,
)
from services.shared.errors import UserError


def checkpoint(*names: str) -> RemoteCheckpoint:
    """The only one of a run."""
    remote = RemoteFile(url="http://x", content=Checksums(size=10))
    (found,) = checkpoints_of(dict.fromkeys(names, remote)).values()
    return found


# The public places, as Agarwal et al. (2022) and Dopamine's documentation give them.
@pytest.mark.parametrize(
    ("name", "bucket", "folder"),
    [
        ("dqn400", "rl_checkpoints", "DQN_400"),
        ("lucid-rainbow", "download-dopamine-rl", "lucid/rainbow"),
        ("jax-dqn_adam_mse", "download-dopamine-rl", "jax/dqn_adam_mse"),
        ("jax-quantile", "download-dopamine-rl", "jax/quantile"),
    ],
)
def test_every_public_agent_lies_where_its_authors_put_it(
    name: str, bucket: str, folder: str
) -> None:
    agent = public_agent(name)
    assert (agent.bucket, agent.run_folder("Breakout", 1)) == (bucket, f"{folder}/Breakout/1/")
    assert agent.directory("Breakout", 1) == f"Breakout/{name}-run1"


def test_names_that_are_shown_are_known_and_folders_that_no_document_names_can_be_asked_for() -> (
    None
):
    assert {public_agent(name).name for name in agent_names()} == set(agent_names())
    assert public_agent("jax-rainbow_pro").prefix == "jax/rainbow_pro/"


@pytest.mark.parametrize("name", ["", "dqn", "jax-", "jax-../x", "jax-a/b", "jax-A", "lucid-x\n"])
def test_other_agents_are_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(UserError, match=r"All: dqn400, lucid-dqn"):
        public_agent(name)


DOPAMINES = {
    "ckpt.399": 399,
    "ckpt.0": 0,
    "sentinel_checkpoint_complete.12": 12,
    "tf_ckpt-199.index": 199,
    "tf_ckpt-199.meta": 199,
    "tf_ckpt-199.data-00000-of-00001": 199,
    "$store$_observation_ckpt.399.gz": 399,
    "add_count_ckpt.399.gz": 399,
    "episode_end_indices_ckpt.0.gz": 0,
}
OTHERS = ["", "ckpt.", "ckpt.01", "ckpt.1x", "ckpt.-1", "ckpt.1\n", "ckpt.1.part", "a/ckpt.1"]
OTHERS += ["ckpt.\u0661", "ckpt.9999999999", "$store$_../x_ckpt.1.gz", "sum_tree_ckpt.1.gz"]
OTHERS += ["tf_ckpt-1.data-0-of-1"]


@pytest.mark.parametrize(("name", "number"), [*DOPAMINES.items(), *((one, None) for one in OTHERS)])
def test_names_that_dopamine_writes_are_read_and_others_are_not(
    name: str, number: int | None
) -> None:
    assert checkpoint_number(name) == number


@given(st.text(alphabet="ckpt._-$0123456789/\\\0\x1b\nsorexgz", max_size=40))
def test_no_name_that_is_read_leads_anywhere_or_steers_a_terminal(name: str) -> None:
    if checkpoint_number(name) is not None:
        assert not set(name) & set("/\\\0\x1b\n")
        assert name not in (".", "..")


def test_what_makes_a_checkpoint_count_as_whole_comes_last() -> None:
    index, data = "tf_ckpt-199.index", "tf_ckpt-199.data-00000-of-00001"
    sentinel, column = "sentinel_checkpoint_complete.199", "add_count_ckpt.199.gz"
    found = checkpoint(sentinel, index, data, column)
    assert [*found.files] == [column, data, index, sentinel]
    assert ([*found.weights], [*found.replay]) == ([data, index, sentinel], [column])


def test_a_checkpoint_is_whole_with_its_pickle_or_its_index() -> None:
    assert checkpoint("ckpt.199").is_whole
    assert checkpoint("tf_ckpt-199.index", "tf_ckpt-199.data-00000-of-00001").is_whole
    assert not checkpoint("sentinel_checkpoint_complete.199").is_whole
    assert not checkpoint("tf_ckpt-199.data-00000-of-00001").is_whole


def test_data_without_one_of_its_columns_is_not_whole() -> None:
    columns = ["observation", "action", "reward", "terminal"]
    names = [f"$store$_{column}_ckpt.199.gz" for column in columns]
    names += ["add_count_ckpt.199.gz", "invalid_range_ckpt.199.gz"]
    assert checkpoint("ckpt.199", *names).has_replay
    for name in names:
        assert not checkpoint("ckpt.199", *(other for other in names if other != name)).has_replay


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (PUBLIC_ENDPOINT, PUBLIC_ENDPOINT),
        ("http://127.0.0.1:9023/", "http://127.0.0.1:9023"),
        ("localhost:9023", "http://localhost:9023"),
        ("[::1]:9023", "http://[::1]:9023"),
    ],
)
def test_endpoints_are_read_as_emulators_tell_them(text: str, endpoint: str) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text",
    ["ftp://x", "http://", "http://x:y", "http://u:p@x", "http://x/path", "http://x?q", "a b"]
    + ["file:///etc", "http://x\n", "http://x:123456"],
)
def test_other_endpoints_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="not the address of a store"):
        parse_endpoint(text)
