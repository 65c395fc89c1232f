"""Minari datasets as replay buffers: what Minari's own reader gives, and nothing that surprises."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.minari_files.conversion import DATASET_FILE, convert_minari
from rrl_agents.checkpoints.recorded_rows import RecordedRows
from services.cli.teacher_minari import minari
from services.shared.errors import UserError

SHAPE = (36, 40)
STACK = 3
# Steps, and whether the last one is terminal.
EPISODES = ((5, True), (4, False), (1, True))


class Written(NamedTuple):
    """A dataset that Minari wrote, and what Minari reads of it."""

    path: Path
    episodes: list[dict[str, Any]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
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
    return Written(path, list(storage.get_episodes(range(len(EPISODES)))))


@pytest.fixture
def copy(written: Written, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the dataset, changed."""

    def change(spoil: Callable[[h5py.File], object]) -> Path:
        path = tmp_path / "dataset"
        shutil.copytree(written.path, path)
        with h5py.File(path / DATASET_FILE, "r+") as file:
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


def test_rows_are_what_minari_itself_reads(
    written: Written, converted: Callable[..., RecordedRows]
) -> None:
    rows = converted(written.path)
    assert (rows.rows, rows.frame_shape) == (19, SHAPE)
    first, second, third = written.episodes
    gap = np.zeros((STACK - 1, *SHAPE), np.uint8)
    # The last observation counts where the episode was cut off.
    frames = [first["observations"][:5], second["observations"], third["observations"][:1]]
    wanted = {
        "frame": np.concatenate([gap, frames[0], gap, frames[1], gap, frames[2], gap]),
        # Rows: 2 + 5, then 2 + 4 + 1, then 2 + 1, then 2.
        "terminal": np.isin(np.arange(19), [6, 16]),
        "is_state": np.isin(np.arange(19), [2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 16]),
        "cut_after": np.isin(np.arange(19), [13, 18]),
    }
    for name, key in (("action", "actions"), ("reward", "rewards")):
        parts = [[0, 0], first[key], [0, 0], second[key], [0, 0, 0], third[key], [0, 0]]
        wanted[name] = np.concatenate(parts).astype(getattr(rows.columns, name).dtype)
    for name, column in columns(rows).items():
        assert np.array_equal(column, wanted[name]), name


def test_transitions_do_not_leave_their_episode(
    written: Written, converted: Callable[..., RecordedRows]
) -> None:
    rows = converted(written.path)
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
    "a link to another file": (
        _replace("episode_0/observations", h5py.ExternalLink("/etc/passwd", "/")),
        "lies outside the file",
    ),
    "content of another file": (
        lambda file: (
            file.pop("episode_0/rewards"),
            file["episode_0"].create_dataset(
                "rewards", (5,), float, external=[("/etc/passwd", 0, 40)]
            ),
        ),
        "lies outside the file",
    ),
    "actions of floats": (_replace("episode_0/actions", np.ones(5)), "whole numbers"),
    "continuous actions": (
        _replace("episode_0/actions", np.ones((5, 2))),
        "one number for each step",
    ),
    "a reward of nan": (_replace("episode_0/rewards", np.full(5, np.nan)), "is nan"),
    "an end in between": (
        _replace("episode_0/terminations", np.array([True, False, False, False, True])),
        "continues after",
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
    (tmp_path / DATASET_FILE).write_bytes(b"no HDF5" * 1000)
    with pytest.raises(ValueError, match=r"main_data\.hdf5"):
        convert_minari(tmp_path, tmp_path / "2", STACK)
    with pytest.raises(ValueError, match="stack size 0"):
        convert_minari(tmp_path, tmp_path / "3", 0)


def test_the_command_writes_the_buffer_whole(
    written: Written,
    converted: Callable[..., RecordedRows],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    minari(written.path, out=tmp_path / "out", stack_size=STACK)
    assert capsys.readouterr().out == f"wrote 19 rows to {tmp_path / 'out'}\n"
    assert open_dopamine_replay(tmp_path / "out").fingerprint == converted(written.path).fingerprint
    with pytest.raises(UserError, match="exists already"):
        minari(written.path, out=tmp_path / "out")


def test_files_that_break_hdf5s_library_end_in_one_line(written: Written, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    whole = np.fromfile(written.path / DATASET_FILE, np.uint8)
    (tmp_path / "data").mkdir()
    for number in range(4):
        places = generator.integers(len(whole), size=200)
        whole[places] = generator.integers(256, size=200)
        whole.tofile(tmp_path / DATASET_FILE)
        try:
            minari(tmp_path, out=tmp_path / f"out{number}", stack_size=STACK)
        except UserError as error:
            assert str(tmp_path) in str(error)
            assert "\n" not in str(error)
            assert {path.name for path in tmp_path.iterdir()} <= {"data", "out0", "out1", "out2"}


def test_a_small_file_that_takes_gigabytes_is_refused(
    copy: Callable[..., Path], tmp_path: Path
) -> None:
    def spoil(file: h5py.File) -> None:
        del file["episode_0/observations"]
        shape, chunk = (6, 1 << 16, 1 << 16), (1, 8, 8)
        file.create_dataset("episode_0/observations", shape, np.uint8, chunks=chunk)

    dataset = copy(spoil)
    with pytest.raises(UserError, match=rf"^{dataset}: .* more than 1073741824 bytes of memory"):
        minari(dataset, out=tmp_path / "out", stack_size=STACK)
    assert not (tmp_path / "out").exists()


def convert_half_and_die(dataset: str, out: str, stack_size: int) -> None:
    Path(out).mkdir()
    Path(out, "half").touch()
    os.abort()


def test_a_conversion_that_dies_leaves_nothing_behind(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversion = f"{__name__}:{convert_half_and_die.__name__}"
    monkeypatch.setattr("services.cli.teacher_minari._CONVERSION", conversion)
    with pytest.raises(UserError, match=rf"^{written.path}: reading it was stopped \(Aborted\)"):
        minari(written.path, out=tmp_path / "buffer")
    assert not list(tmp_path.iterdir())
