from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl_agents.checkpoints.fetched_source import MAX_SOURCE_BYTES, SOURCE_FILE, fetched_game
from rrl_agents.checkpoints.sealed_json import seal
from rrl_agents.typed_json import encode
from services.library.fetch.download import Checksums, RemoteFile
from services.library.fetch.fetching import (
    FetchedCheckpoint,
    FetchedSource,
    read_source,
    write_source,
)
from services.shared.errors import UserError

DIGESTS = st.none() | st.binary(min_size=4, max_size=4).map(bytes.hex)


def made(number: int, crc32c: str | None = None, *, has_replay: bool = False) -> FetchedCheckpoint:
    content = Checksums(size=5, crc32c=crc32c, md5="0" * 32)
    return FetchedCheckpoint(
        number=number,
        has_replay=has_replay,
        fetched_at="2026-01-01T00:00:00+00:00",
        files={f"ckpt.{number}": RemoteFile(url="http://x/y", generation="7", content=content)},
    )


SOURCE = FetchedSource(
    agent="dqn400",
    game="Pong",
    run=1,
    checkpoints=(made(399),),
)


@given(
    st.lists(
        st.builds(made, st.integers(0, 10**9 - 1), DIGESTS, has_replay=st.booleans()), max_size=4
    )
)
@settings(max_examples=30)
def test_a_source_is_read_as_it_was_written(
    tmp_path: Path, checkpoints: list[FetchedCheckpoint]
) -> None:
    source = SOURCE
    for checkpoint in checkpoints:
        source = source.with_checkpoint(checkpoint)
    write_source(tmp_path, source)
    assert read_source(tmp_path) == source
    assert fetched_game(tmp_path) == "Pong"
    assert [path.name for path in tmp_path.iterdir()] == [SOURCE_FILE]


def test_a_checkpoint_takes_the_place_of_the_one_of_its_number() -> None:
    source = SOURCE.with_checkpoint(made(1)).with_checkpoint(made(399, has_replay=True))
    assert source.checkpoints == (made(1), made(399, has_replay=True))
    assert source.checkpoint(399) == made(399, has_replay=True)
    assert source.checkpoint(2) is None


def test_no_source_is_none(tmp_path: Path) -> None:
    assert read_source(tmp_path) is None


FILE = SOURCE.checkpoints[0].files["ckpt.399"]
NEGATIVE = {"size": -1, "crc32c": None, "md5": None}


def changed(**changes: Any) -> bytes:
    """`SOURCE` as it is written, with something else in it or in its only checkpoint."""
    source = encode(SOURCE)
    source["checkpoints"][0] |= changes.pop("checkpoint", {})
    return seal({**source, **changes}).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b" " * (MAX_SOURCE_BYTES + 1),
        changed(run="1"),
        changed(extra=1),
        changed(checkpoints=[1]),
        changed(checkpoint={"files": {"../../.bashrc": encode(FILE)}}),
        changed(checkpoint={"files": {"/etc/passwd": encode(FILE)}}),
        changed(checkpoint={"files": {"ckpt.399": {**encode(FILE), "content": NEGATIVE}}}),
    ],
)
def test_a_source_that_is_none_is_refused_with_what_to_do(tmp_path: Path, text: bytes) -> None:
    (tmp_path / SOURCE_FILE).write_bytes(changed())
    assert read_source(tmp_path) == SOURCE
    (tmp_path / SOURCE_FILE).write_bytes(text)
    with pytest.raises(UserError, match="delete .*source.json and fetch again"):
        read_source(tmp_path)


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_any_other_bytes_are_refused_too(tmp_path: Path, text: bytes) -> None:
    (tmp_path / SOURCE_FILE).write_bytes(text)
    with pytest.raises(UserError):
        read_source(tmp_path)
