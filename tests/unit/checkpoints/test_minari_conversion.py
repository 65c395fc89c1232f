"""Minari datasets as replay buffers: what Minari's own reader gives, and nothing that surprises."""

from __future__ import annotations

import os
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.minari_files.conversion import convert_minari
from rrl_agents.checkpoints.recorded_rows import RecordedRows
from services.cli.teacher_minari import minari
from services.shared.errors import UserError

SHAPE = (36, 40)
STACK = 3
# Steps, and whether the last one is terminal.
EPISODES = ((5, True), (4, False), (1, True))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A dataset that Minari wrote, and what Minari reads of it."""
    import gymnasium
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    generator = np.random.default_rng(0)
    buffers = [
        EpisodeBuffer(
            id=number,
            observations=[generator.integers(0, 256, SHAPE, np.uint8) for _ in range(steps + 1)],
            actions=list(generator.integers(0, 4, steps)),
            rewards=list(generator.normal(size=steps)),
            terminations=[is_terminated and step == steps - 1 for step in range(steps)],
            truncations=[not is_terminated and step == steps - 1 for step in range(steps)],
        )
        for number, (steps, is_terminated) in enumerate(EPISODES)
    ]
    path = tmp_path_factory.mktemp("minari") / "test-v0"
    path.mkdir()
    storage = MinariStorage.new(
        path / "data",
        observation_space=gymnasium.spaces.Box(0, 255, SHAPE, np.uint8),
        action_space=gymnasium.spaces.Discrete(4),
        data_format="hdf5",
    )
    storage.update_episodes(buffers)
    return path, list(storage.get_episodes(range(len(EPISODES))))


@pytest.fixture
def copy(
    written: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> Callable[[Callable[[h5py.File], object]], Path]:
    """A copy of the dataset, changed."""

    def change(spoil: Callable[[h5py.File], object]) -> Path:
        path = tmp_path / "dataset"
        shutil.copytree(written[0], path)
        with h5py.File(path / "data/main_data.hdf5", "r+") as file:
            spoil(file)
        return path

    return change


@pytest.fixture
def converted(tmp_path: Path) -> Callable[..., RecordedRows]:
    """The rows of a dataset's buffer."""

    def convert(dataset: Path, stack_size: int = STACK) -> RecordedRows:
        rows = convert_minari(dataset, tmp_path / "buffer", stack_size)
        replay = open_dopamine_replay(tmp_path / "buffer")
        assert (replay.rows, replay.stack_size) == (rows, stack_size)
        return replay

    return convert


def columns(rows: RecordedRows) -> dict[str, Any]:
    frame = np.concatenate([chunk.frame for chunk in rows.chunks()])
    return {"frame": frame, **vars(rows.columns)}


def expected(episodes: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Two zero rows before each episode and behind all; the last observation of one cut off."""
    frames, actions, rewards = [], [], []
    for episode, (steps, is_terminated) in zip(episodes, EPISODES, strict=True):
        shown = episode["observations"][: steps + (not is_terminated)]
        frames += [np.zeros((STACK - 1, *SHAPE), np.uint8), shown]
        for column, name in ((actions, "actions"), (rewards, "rewards")):
            column += [0, 0, *episode[name], *([0] if not is_terminated else [])]
    frames.append(np.zeros((STACK - 1, *SHAPE), np.uint8))
    actions += [0, 0]
    rewards += [0, 0]
    return {
        "frame": np.concatenate(frames),
        "action": np.asarray(actions, np.int32),
        "reward": np.asarray(rewards, np.float32),
        # Rows: 2 + 5, then 2 + 4 + 1, then 2 + 1, then 2.
        "terminal": np.isin(np.arange(19), [6, 16]),
        "is_state": np.isin(np.arange(19), [2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 16]),
        "cut_after": np.isin(np.arange(19), [13, 18]),
    }


def test_rows_are_what_minari_itself_reads(
    written: tuple[Path, list[dict[str, Any]]], converted: Callable[..., RecordedRows]
) -> None:
    path, episodes = written
    rows = converted(path)
    assert (rows.rows, rows.frame_shape) == (19, SHAPE)
    wanted = expected(episodes)
    for name, column in columns(rows).items():
        assert np.array_equal(column, wanted[name]), name


def test_transitions_do_not_leave_their_episode(
    written: tuple[Path, list[dict[str, Any]]], converted: Callable[..., RecordedRows]
) -> None:
    rows = converted(written[0])
    # The last step of the second episode, row 12, leads to its last observation, row 13.
    # That of the last episode, row 16, is terminal and counts up to n = 2, the zero rows behind it.
    assert rows.transition_rows(1).tolist() == [2, 3, 4, 5, 6, 9, 10, 11, 12, 16]
    assert rows.transition_rows(2).tolist() == [2, 3, 4, 5, 6, 9, 10, 11, 16]
    # With three steps, rows 9 and 10 still reach row 12 or 13.
    assert rows.transition_rows(3).tolist() == [2, 3, 4, 5, 6, 9, 10]


def test_raw_frames_of_older_versions_are_read(
    copy: Callable[..., Path], converted: Callable[..., RecordedRows]
) -> None:
    frames = np.arange(6 * 8, dtype=np.uint8).reshape(6, 2, 4)

    def raw(file: h5py.File) -> None:
        del file["episode_1"], file["episode_2"], file["episode_0/observations"]
        file["episode_0/observations"] = frames

    assert np.array_equal(columns(converted(copy(raw), 1))["frame"], frames[:5])


def _replace(name: str, content: Any) -> Callable[[h5py.File], None]:
    def replace(file: h5py.File) -> None:
        del file[name]
        if content is not None:
            file[name] = content

    return replace


SPOILED: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "a missing episode": (_replace("episode_1", None), "episode_1 is missing"),
    "a missing column": (_replace("episode_0/rewards", None), "rewards is missing"),
    "a shorter column": (_replace("episode_0/rewards", np.ones(4)), "columns of"),
    "no observations": (_replace("episode_0/observations", None), "observations is missing"),
    "a link to another file": (
        _replace("episode_0/observations", h5py.ExternalLink("/etc/passwd", "/")),
        "link out of the file",
    ),
    "a soft link": (
        _replace("episode_0/observations", h5py.SoftLink("/episode_1/observations")),
        "link out of the file",
    ),
    "a group for a column": (
        lambda file: (
            _replace("episode_0/rewards", None)(file),
            file["episode_0"].create_group("rewards"),
        ),
        "rewards is no Dataset",
    ),
    "actions of floats": (_replace("episode_0/actions", np.ones(5)), "whole numbers"),
    "continuous actions": (
        _replace("episode_0/actions", np.ones((5, 2))),
        "one number for each step",
    ),
    "a reward of nan": (_replace("episode_0/rewards", np.full(5, np.nan)), "is nan"),
    "an end in between": (
        _replace("episode_0/terminations", np.array([True, False, False, False, True])),
        "goes on behind",
    ),
    "colour frames": (
        _replace("episode_0/observations", np.zeros((6, 4, 4, 3), np.uint8)),
        r"shape \(4, 4, 3\)",
    ),
    "float frames": (_replace("episode_0/observations", np.zeros((6, 4, 4))), "float64"),
    "large frames": (
        _replace("episode_0/observations", np.zeros((6, 512, 513), np.uint8)),
        "too large",
    ),
    "no JPEG": (_replace("episode_0/observations", np.zeros((6, 9), np.uint8)), "cannot identify"),
    "nothing": (lambda file: [file.pop(name) for name in list(file)], "no episodes"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_dataset_that_is_not_as_it_should_be_is_refused(
    what: str, copy: Callable[..., Path], tmp_path: Path
) -> None:
    spoil, reason = SPOILED[what]
    with pytest.raises(ValueError, match=r"main_data\.hdf5: .*" + reason):
        convert_minari(copy(spoil), tmp_path / "buffer", STACK)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        convert_minari(tmp_path, tmp_path / "1", STACK)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/main_data.hdf5").write_bytes(b"no HDF5" * 1000)
    with pytest.raises(ValueError, match=r"main_data\.hdf5"):
        convert_minari(tmp_path, tmp_path / "2", STACK)
    with pytest.raises(ValueError, match="stack size 0"):
        convert_minari(tmp_path, tmp_path / "3", 0)


def test_the_command_writes_the_buffer_whole(
    written: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    minari(written[0], out=tmp_path / "buffer", stack_size=STACK)
    assert capsys.readouterr().out == f"wrote 19 rows to {tmp_path / 'buffer'}\n"
    wanted = expected(written[1])["frame"]
    assert np.array_equal(columns(open_dopamine_replay(tmp_path / "buffer"))["frame"], wanted)
    with pytest.raises(UserError, match="exists already"):
        minari(written[0], out=tmp_path / "buffer")


def test_files_that_break_hdf5s_library_end_in_one_line(
    written: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    generator = random.Random(0)
    whole = (written[0] / "data/main_data.hdf5").read_bytes()
    (tmp_path / "data").mkdir()
    for number in range(4):
        content = bytearray(whole)
        for _ in range(200):
            content[generator.randrange(len(content))] = generator.randrange(256)
        (tmp_path / "data/main_data.hdf5").write_bytes(content)
        try:
            minari(tmp_path, out=tmp_path / f"out{number}", stack_size=STACK)
        except UserError as error:
            assert str(tmp_path) in str(error)
            assert "\n" not in str(error)
            assert {path.name for path in tmp_path.iterdir()} <= {"data", "out0", "out1", "out2"}


def zeros_packed(mebibytes: int) -> bytes:
    """So many zeros as zlib packs them, a thousandth of them long, made a block at a time."""
    head = zlib.compress(b"")[:2]
    block = zlib.compressobj(9, wbits=-15)
    packed = block.compress(bytes(1 << 20)) + block.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, wbits=-15).flush()
    checksum = ((mebibytes << 20) % 65521) << 16 | 1
    return head + mebibytes * packed + last + checksum.to_bytes(4, "big")


@pytest.mark.parametrize("chunk", [(2_000, 1024, 1024), (1, *SHAPE)])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(
    written: tuple[Path, list[dict[str, Any]]],
    copy: Callable[[Callable[[h5py.File], object]], Path],
    tmp_path: Path,
    chunk: tuple[int, ...],
) -> None:
    mebibytes = 2_000
    assert zlib.decompress(zeros_packed(3)) == bytes(3 << 20)

    def spoil(file: h5py.File) -> None:
        steps = len(file["episode_0/rewards"])
        del file["episode_0/observations"]
        shape = (max(steps + 1, chunk[0]), *chunk[1:])
        frames = file["episode_0"].create_dataset(
            "observations",
            shape=(steps + 1, *shape[1:]),
            maxshape=(None, *shape[1:]),
            dtype=np.uint8,
            chunks=chunk,
            compression="gzip",
        )
        frames.id.write_direct_chunk((0, 0, 0), zeros_packed(mebibytes))

    dataset = copy(spoil)
    assert (dataset / "data/main_data.hdf5").stat().st_size < 4 << 20
    # With frames of the right shape, HDF5 itself refuses what they unpack to.
    with pytest.raises(
        UserError, match=rf"^{dataset}.*(1073741824 bytes of memory|main_data.hdf5)"
    ):
        minari(dataset, out=tmp_path / "out", stack_size=STACK)
    assert not (tmp_path / "out").exists()


def convert_half_and_die(dataset: str, out: str, stack_size: int) -> None:
    Path(out).mkdir()
    Path(out, "half").touch()
    os.abort()


def test_a_conversion_that_dies_leaves_nothing_behind(
    written: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conversion = f"{__name__}:{convert_half_and_die.__name__}"
    monkeypatch.setattr("services.cli.teacher_minari._CONVERSION", conversion)
    with pytest.raises(UserError, match=rf"^{written[0]}: reading it was stopped \(Aborted\)"):
        minari(written[0], out=tmp_path / "buffer")
    assert not list(tmp_path.iterdir())
