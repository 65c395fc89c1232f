"""Damaged, foreign and malicious files: each is refused, by name, in little memory."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import struct
import tempfile
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl_agents.checkpoints.dopamine_replay.episode_ends import read_episode_ends
from rrl_agents.checkpoints.dopamine_replay.npy_column import opened_column, read_column
from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.recorded_rows import RecordedRows
from services.library.confined import Limits
from services.recorded_data import dataset
from services.recorded_data.dataset import open_data
from services.shared.errors import UserError

CAPACITY, ADDED, STACK, HORIZON = 20, 27, 4, 1
FRAME_SHAPE = (2, 3)
OBSERVATION = "$store$_observation"
MODEST_BYTES = 1 << 22


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npy_with_header(header: str, version: bytes = b"\x01\x00", content: bytes = b"") -> bytes:
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header.encode("latin1") + content


def columns() -> dict[str, bytes]:
    """A small full buffer, member by member, unpacked: its cursor is at 27 mod 20 = 7."""
    random = np.random.default_rng(0)
    cursor = ADDED % CAPACITY
    around = (cursor - HORIZON + np.arange(STACK + HORIZON)) % CAPACITY
    return {
        OBSERVATION: npy(random.integers(0, 256, (CAPACITY, *FRAME_SHAPE), np.uint8)),
        "$store$_action": npy(random.integers(0, 6, CAPACITY).astype(np.int32)),
        "$store$_reward": npy(np.ones(CAPACITY, np.float32)),
        "$store$_terminal": npy(np.zeros(CAPACITY, np.uint8)),
        "add_count": npy(np.array(ADDED)),
        "invalid_range": npy(around),
        "episode_end_indices": pickle.dumps({np.int64(12)}, protocol=4),
    }


def write(directory: Path, **changed: bytes) -> Path:
    """Write the buffer with the content of some members replaced."""
    for name, content in {**columns(), **changed}.items():
        (directory / f"{name}_ckpt.3.gz").write_bytes(gzip.compress(content))
    return directory


def read_all(path: Path) -> RecordedRows:
    rows = open_dopamine_replay(path)
    for _ in rows.chunks():
        pass
    return rows


@pytest.fixture
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MODEST_BYTES


def test_the_buffer_of_these_tests_is_sound(tmp_path: Path) -> None:
    rows = read_all(write(tmp_path))
    assert (rows.rows, rows.frame_shape, rows.stack_size, rows.num_actions) == (20, (2, 3), 4, 6)


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (20, 2, 3), }"
FRAMES = bytes(20 * 6)

BAD_OBSERVATIONS: dict[str, tuple[bytes, str]] = {
    "a pickled array": (npy(np.array([None] * 20), allow_pickle=True), "an array of object"),
    "nothing": (b"", "numpy's format"),
    "only a header": (npy_with_header(HEADER), "truncated"),
    "a row too few": (npy_with_header(HEADER, content=FRAMES[:-6]), "truncated"),
    "a byte too many": (npy_with_header(HEADER, content=FRAMES + b"!"), "altered"),
    "Fortran order": (npy(np.asfortranarray(np.zeros((20, 2, 3), np.uint8))), "in C order"),
    "floats": (npy(np.zeros((20, 2, 3), np.float32)), "of the types B"),
    "colours": (npy(np.zeros((20, 2, 3, 3), np.uint8)), "has 3 dimensions"),
    "no rows": (npy(np.zeros((0, 2, 3), np.uint8)), r"shape \(0, 2, 3\)"),
    "text": (npy(np.zeros((20, 2, 3), "U1")), "an array of <U1"),
    "records": (npy(np.zeros(20, [("a", "u1"), ("b", "u1")])), "an array of .*'a'"),
    "a huge header of version 2": (
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(1 << 20),
        "version 1",
    ),
    "a large header": (npy_with_header(HEADER + " " * 4000, content=FRAMES), "version 1"),
    "a header of code": (npy_with_header("__import__('os').system('true')"), "version 1"),
    "a header of brackets": (npy_with_header("(" * 900), "version 1"),
    "an absurd shape": (npy_with_header(HEADER.replace("20,", "1000000000000,")), "at most"),
    "an absurd row": (npy_with_header(HEADER.replace("2, 3", "99999, 99999")), "at most"),
    "a negative shape": (npy_with_header(HEADER.replace("20,", "-20,")), "at most"),
    "many dimensions": (npy_with_header(HEADER.replace("2, 3", "1, " * 30)), "has 3 dimensions"),
    "rows that the file cannot hold": (
        npy_with_header(HEADER.replace("20, 2, 3", "9000000, 84, 84")),
        "announces 63504000080 bytes, but its end speaks of 80",
    ),
}
BAD_COLUMNS: dict[str, tuple[str, bytes, str]] = {
    "a shorter column": ("$store$_reward", npy(np.ones(19, np.float32)), "same check"),
    "a column that is not there": (
        "$store$_reward",
        npy_with_header(HEADER.replace("20, 2, 3", "9000000,")),
        "truncated",
    ),
    "wide rows": ("$store$_reward", npy(np.ones((20, 2), np.float32)), "has 1 dimensions"),
    "a reward of nan": ("$store$_reward", npy(np.full(20, np.nan)), "is nan"),
    "a reward too large": ("$store$_reward", npy(np.full(20, 1e300)), "is inf"),
    "actions of floats": ("$store$_action", npy(np.ones(20)), "an array of float64"),
    "negative actions": ("$store$_action", npy(np.full(20, -1)), "from 0 on"),
    "huge actions": ("$store$_action", npy(np.full(20, 2**40)), "from 0 on"),
    "nothing added": ("add_count", npy(np.array(0)), "nothing to read"),
    "a negative count": ("add_count", npy(np.array(-7)), "nothing to read"),
    "a count of floats": ("add_count", npy(np.array(27.0)), "an array of float64"),
    "several counts": ("add_count", npy(np.array([27, 27])), "has 0 dimensions"),
    "another buffer's range": ("invalid_range", npy(np.arange(5)), "does not surround"),
    "an empty range": ("invalid_range", npy(np.arange(0)), r"shape \(0,\)"),
    "a range of zeros": ("invalid_range", npy(np.zeros(4, int)), "does not surround"),
    "an end beyond the rows": ("episode_end_indices", pickle.dumps({20}), "below 20"),
    "ends of text": ("episode_end_indices", pickle.dumps({"1"}), "something else"),
    "a dict of ends": ("episode_end_indices", pickle.dumps({1: 2}), "something else"),
    "a truncated pickle": ("episode_end_indices", pickle.dumps({1})[:-1], "copy it again"),
    "an empty pickle": ("episode_end_indices", b"", "copy it again"),
}
BAD_FILES = {
    **{what: ("$store$_observation", *bad) for what, bad in BAD_OBSERVATIONS.items()},
    **BAD_COLUMNS,
}


@pytest.mark.parametrize("what", BAD_FILES)
@pytest.mark.usefixtures("little_memory")
def test_a_file_that_is_not_what_the_buffer_needs_is_refused(what: str, tmp_path: Path) -> None:
    name, content, reason = BAD_FILES[what]
    with pytest.raises(ValueError, match=rf"{re.escape(name)}_ckpt\.3\.gz: .*{reason}"):
        read_all(write(tmp_path, **{name: content}))


def test_files_of_different_buffers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid_range.*does not surround row 0"):
        read_all(write(tmp_path, add_count=npy(np.array(40))))


class _RunsCode:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_runs_code_is_refused_without_running_it(tmp_path: Path) -> None:
    marker = tmp_path / "code_ran"
    content = pickle.dumps({_RunsCode(marker)})
    with pytest.raises(ValueError, match="refused"):
        read_all(write(tmp_path, episode_end_indices=content))
    assert not marker.exists()
    # That it would have run: the file is the attack it claims to be.
    pickle.loads(content)
    assert marker.exists()


COSTLY_PICKLES = {
    "an end that takes days to hash": b"\x80\x04\x8f(K\x01" + b"2\x86" * 60 + b"\x90.",
    "an end that nests too deep for Python": b"\x80\x04\x8f(K\x01" + b"\x85" * 200_000 + b"\x90.",
    "a bytearray that announces 2**40 bytes": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
}


@pytest.mark.parametrize("what", COSTLY_PICKLES)
def test_a_pickle_that_costs_memory_or_time_does_so_in_a_process_of_its_own(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_LIMITS", Limits(cpu_seconds=2))
    directory = write(tmp_path, episode_end_indices=COSTLY_PICKLES[what])
    with pytest.raises(UserError, match="episode_end_indices_ckpt.3.gz: "):
        open_data(directory)


def test_ends_that_are_read_in_a_process_of_their_own_are_the_same(tmp_path: Path) -> None:
    directory = write(tmp_path)
    found, wanted = open_data(directory), open_dopamine_replay(directory)
    assert found.fingerprint == wanted.fingerprint
    # Place 12 is row 5: the oldest is at place 7.
    assert np.flatnonzero(found.columns.cut_after).tolist() == [5, 19]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_ends_of_every_pickle_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "ends.gz"
    ends = {np.int64(7), np.int32(3), np.uint8(200), 19, *range(300, 2000), *np.arange(3000, 5000)}
    for some in (ends, {np.int64(9)}, {9}, set()):
        path.write_bytes(gzip.compress(pickle.dumps(some, protocol=protocol)))
        assert read_episode_ends(path, 5000) == sorted(some)


@pytest.mark.usefixtures("little_memory")
def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(1 << 20)
    header = npy_with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }")
    path.write_bytes(
        packer.compress(header)
        + b"".join(packer.compress(zeros) for _ in range(64))
        + packer.flush()
    )
    with pytest.raises(ValueError, match="altered"):
        read_column(path, 1, "f")
    # An end that tells the size that the header announces.
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<I", len(header) + 20))
    with pytest.raises(ValueError, match="holds more than it announces"):
        read_column(path, 1, "f")


def test_content_that_is_4_gib_short_is_noticed_though_its_end_agrees(tmp_path: Path) -> None:
    path = tmp_path / "short.gz"
    # 2**22 * 32 * 32 = 2**32.
    header = npy_with_header(HEADER.replace("20, 2, 3", "4194304, 32, 32"))
    path.write_bytes(gzip.compress(header))
    with opened_column(path, 3, "B") as column, pytest.raises(ValueError, match="truncated"):
        column.read(0, 1)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """The file of a sound buffer's frames."""
    return write(tmp_path) / f"{OBSERVATION}_ckpt.3.gz"


def test_every_truncation_is_noticed_at_opening(frames: Path) -> None:
    packed = frames.read_bytes()
    for size in range(len(packed)):
        frames.write_bytes(packed[:size])
        with pytest.raises(ValueError, match="observation_ckpt"):
            open_dopamine_replay(frames.parent)


def test_a_flipped_bit_anywhere_in_the_frames_is_noticed(frames: Path) -> None:
    packed = bytearray(frames.read_bytes())
    # The 10 bytes of gzip's own header hold a time and a system that are not checked.
    for place in range(10, len(packed)):
        packed[place] ^= 1
        frames.write_bytes(packed)
        with pytest.raises(ValueError, match="observation_ckpt"):
            read_all(frames.parent)
        packed[place] ^= 1


def test_what_follows_the_packed_content_is_refused(frames: Path) -> None:
    packed, content = frames.read_bytes(), columns()[OBSERVATION]
    halves = gzip.compress(content[:200]) + gzip.compress(content[200:])
    for altered in (packed + bytes(8), packed + gzip.compress(b""), halves):
        frames.write_bytes(altered)
        # Other tools read the same content.
        assert gzip.decompress(altered) == content
        with pytest.raises(ValueError, match=r"observation_ckpt\.3\.gz: .*altered"):
            open_dopamine_replay(frames.parent)
    frames.write_bytes(packed + packed)
    with pytest.raises(ValueError, match="holds more than it announces"):
        read_all(frames.parent)


def test_a_header_of_python_2_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.gz"
    header = "{'descr': '<i4', 'fortran_order': False, 'shape': (3L,), }\n"
    path.write_bytes(gzip.compress(npy_with_header(header, content=struct.pack("<3i", 1, 2, 3))))
    assert read_column(path, 1, "i").tolist() == [1, 2, 3]


def test_the_fingerprint_tells_any_change_of_content(tmp_path: Path) -> None:
    before = open_dopamine_replay(write(tmp_path)).fingerprint
    assert open_dopamine_replay(write(tmp_path)).fingerprint == before
    for name, content in columns().items():
        if name.startswith("$store$"):
            changed = content[:-1] + bytes([content[-1] ^ 1])
            altered = open_dopamine_replay(write(tmp_path, **{name: changed}))
            assert altered.fingerprint != before


@settings(max_examples=300, deadline=None)
@given(
    header=st.one_of(
        st.text(st.characters(max_codepoint=255), max_size=200),
        st.builds(
            "{{'descr': {!r}, 'fortran_order': {}, 'shape': {}}}".format,
            st.sampled_from(["|u1", "<f4", "|O", "<i8", "|b1", ">f8", "|V8", "<M8[s]", "|S9", ""]),
            st.sampled_from(["False", "True", "0"]),
            st.lists(st.integers(-2, 2**70), max_size=5).map(tuple),
        ),
    ),
    content=st.binary(max_size=64),
)
def test_any_header_is_refused_or_read(header: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "column.gz"
        path.write_bytes(gzip.compress(npy_with_header(header, content=content)))
        try:
            read_column(path, 1, "?bBhHiIlLqQefd")
        except ValueError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("name", [OBSERVATION, "episode_end_indices"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(name: str, tmp_path: Path) -> None:
    pipe = write(tmp_path) / f"{name}_ckpt.3.gz"
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="no regular file|lacks"):
        read_all(tmp_path)
