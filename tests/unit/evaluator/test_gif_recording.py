from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from services.evaluator.gif_recording import channel_colour, record_gif


def grey_frames(count: int, height: int = 8, width: int = 12) -> list[NDArray[np.uint8]]:
    """Frame k is grey of value 2k, all over."""
    return [np.full((height, width), 2 * index, np.uint8) for index in range(count)]


def read_back(path: Path) -> list[NDArray[np.uint8]]:
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


@pytest.mark.parametrize(
    ("shape", "scale"),
    # At least 2, and more where the longer side would stay below 160: 160 // 12 = 13.
    [((84, 84), 2), ((200, 100), 2), ((8, 12), 13)],
)
def test_grey_frames_come_back_enlarged_with_their_own_values(
    tmp_path: Path, shape: tuple[int, int], scale: int
) -> None:
    path = tmp_path / "play.gif"
    assert record_gif(grey_frames(5, *shape), path, 20.0) == 5
    frames = read_back(path)
    assert len(frames) == 5
    for index, frame in enumerate(frames):
        assert frame.shape == (shape[0] * scale, shape[1] * scale, 3)
        assert np.all(frame == 2 * index)
    with Image.open(path) as image:
        # At natural speed, 1000 ms / 20, and for ever.
        assert (image.info["duration"], image.info["loop"]) == (50, 0)


def test_objects_come_back_in_the_colours_of_their_channels_the_first_on_top(
    tmp_path: Path,
) -> None:
    # Cells of a 2x2 grid: nothing, object 0, object 3, and objects 1 and 2 at once.
    frame = np.zeros((2, 2, 4), np.uint8)
    frame[0, 1, 0] = frame[1, 0, 3] = frame[1, 1, 1] = frame[1, 1, 2] = 255
    record_gif([frame, np.zeros_like(frame)], tmp_path / "play.gif", 15.0)
    drawn, empty = read_back(tmp_path / "play.gif")
    assert drawn.shape == (160, 160, 3)
    cells = drawn[40::80, 40::80]
    assert cells[0, 0].tolist() == [0, 0, 0]
    assert cells[0, 1].tolist() == list(channel_colour(0))
    assert cells[1, 0].tolist() == list(channel_colour(3))
    assert cells[1, 1].tolist() == list(channel_colour(1))
    assert not empty.any()


def test_the_ten_channels_of_seaquest_look_different() -> None:
    colours = np.asarray([(0, 0, 0), *(channel_colour(index) for index in range(10))])
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=-1)
    assert distances[~np.eye(11, dtype=bool)].min() > 50


def test_nothing_is_recorded_of_vectors(tmp_path: Path) -> None:
    assert record_gif([np.zeros(4, np.float32)] * 3, tmp_path / "play.gif", 15.0) == 0
    assert list(tmp_path.iterdir()) == []


def test_colours_come_back_as_they_were(tmp_path: Path) -> None:
    colours = np.array([[200, 30, 40], [10, 120, 250], [90, 180, 20]], np.uint8)
    frames = [np.tile(colour, (6, 6, 1)) for colour in colours]
    record_gif(frames, tmp_path / "play.gif", 10.0)
    for frame, colour in zip(read_back(tmp_path / "play.gif"), colours, strict=True):
        # A palette of 256 holds three colours exactly, but for the quantiser's own rounding.
        assert np.abs(frame.astype(int) - colour).max() <= 4


def test_a_long_episode_is_cut_to_a_minute(tmp_path: Path) -> None:
    frames = [grey_frames(2)[index % 2] for index in range(200)]
    # 60 s at 2 frames a second are 120 frames.
    assert record_gif(frames, tmp_path / "play.gif", 2.0) == 120
    assert len(read_back(tmp_path / "play.gif")) == 120


def test_a_file_never_exceeds_its_bound(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 30), dtype=np.uint8)
    shown = record_gif(list(noise), tmp_path / "play.gif", 15.0, max_bytes=60_000)
    assert 2 <= shown < 40
    assert (tmp_path / "play.gif").stat().st_size <= 60_000
    assert len(read_back(tmp_path / "play.gif")) == shown
