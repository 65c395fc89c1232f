"""Films episodes as MP4 or GIF: agents side by side, each under its name and its return so far.

Shows what an environment renders, or the observed frame if it does not render. Pictures are encoded
one by one: memory does not grow with the length of an MP4; a GIF takes a byte per pixel.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rrl_agents.environments.vector_environment import VectorEnvironment
from services.evaluator.gif_recording import as_picture
from services.shared.errors import UserError

SUFFIXES = (".mp4", ".gif")
"""The supported suffixes of a film's name."""

FRAMES_PER_SECOND = 15.0
"""Default speed: Atari's 60 Hz with 4 frames per step."""

_SHORTEST_SIDE = 240
"""Small pictures are enlarged to at least this side, in pixels, by whole factors."""
_CAPTION_HEIGHT = 18
_GAP = 6
_MOST_FRAMES_PER_SECOND = 30.0
"""Encoding is slower than play, so faster environments show only some pictures."""


class FilmedPlayer:
    """One agent in one environment, shown step by step.

    Args:
        name: Name of the agent, for the caption.
        environment: A single environment, which the caller closes.
        actions: Observations [1, *observation_shape] to int64 [1].

    Attributes:
        score: Return of the current episode so far.
        is_over: Whether the episode has ended.

    Raises:
        UserError: this environment cannot be shown.
    """

    def __init__(
        self,
        name: str,
        environment: VectorEnvironment,
        actions: Callable[[NDArray[Any]], NDArray[np.int64]],
    ) -> None:
        self._name = name
        self._environment = environment
        self._actions = actions
        self.begin(0)
        if self._seen() is None:
            raise UserError(
                f"{environment.spec.name} has nothing to show: it has no render mode rgb_array, "
                "and its observations are not uint8 images; make it with a function of your own "
                "that sets a render mode, and give --environment.game my_package:make_env"
            )

    def begin(self, seed: int) -> None:
        """Start the episode of a seed."""
        self._observations = self._environment.reset(seed)
        self.score, self.is_over = 0.0, False

    def step(self) -> None:
        """Act once; does nothing if the episode has ended."""
        if self.is_over:
            return
        step = self._environment.step(self._actions(self._observations))
        self._observations = step.observation
        self.score += float(step.reward[0])
        self.is_over = bool(step.terminated[0] or step.truncated[0])

    def picture(self) -> Image.Image:
        """The current picture, under the caption."""
        seen = self._seen()
        assert seen is not None, "it was looked at when this was made"
        scale = max(1, math.ceil(_SHORTEST_SIDE / max(seen.size)))
        size = (seen.width * scale, seen.height * scale)
        shown = Image.new("RGB", (size[0], size[1] + _CAPTION_HEIGHT))
        shown.paste(seen.resize(size, Image.Resampling.NEAREST), (0, _CAPTION_HEIGHT))
        ImageDraw.Draw(shown).text((3, 3), f"{self.score:g}  {self._name}", fill="white")
        return shown

    @property
    def frames_per_second(self) -> float | None:
        """The environment's own speed; None if unknown."""
        return self._environment.frames_per_second

    def _seen(self) -> Image.Image | None:
        drawn = self._environment.draw()
        if drawn is not None:
            return Image.fromarray(np.asarray(drawn, np.uint8)).convert("RGB")
        return as_picture(self._environment.spec.newest_frames(self._observations[0]))


def record_film(
    players: Sequence[FilmedPlayer],
    path: Path,
    *,
    seeds: Sequence[int],
    frames_per_second: float,
    max_seconds: float,
) -> tuple[tuple[float, ...], ...]:
    """Play episodes and film them; an existing file is replaced.

    Args:
        players: At least one; they play the same seeds at the same time.
        path: The file, with one of `SUFFIXES`.
        seeds: Seeds of the episodes.
        frames_per_second: Steps per second of the film.
        max_seconds: Longest film.

    Returns:
        The return of each player in every episode that the film shows to its end.

    Raises:
        UserError: OpenCV cannot write MP4 here.
        OSError: the file cannot be written.
    """
    returns: list[tuple[float, ...]] = []
    every = math.ceil(frames_per_second / _MOST_FRAMES_PER_SECOND)
    rate = frames_per_second / every
    pictures = _pictures(players, seeds, every, returns)
    shown = itertools.islice(pictures, max(1, int(max_seconds * rate)))
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        new = Path(scratch, path.name)
        write = _write_gif if path.suffix == ".gif" else _write_mp4
        write(shown, new, rate)
        os.replace(new, path)
    return tuple(returns)


def _pictures(
    players: Sequence[FilmedPlayer],
    seeds: Sequence[int],
    every: int,
    returns: list[tuple[float, ...]],
) -> Iterator[Image.Image]:
    """The first picture of each episode, one every few steps, and the last."""
    for seed in seeds:
        for player in players:
            player.begin(seed)
        for step in itertools.count():
            is_over = all(player.is_over for player in players)
            if is_over:
                returns.append(tuple(player.score for player in players))
            if is_over or step % every == 0:
                yield _side_by_side([player.picture() for player in players])
            if is_over:
                break
            for player in players:
                player.step()


def _side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """All pictures in one, with even sides, as codecs require."""
    width = sum(picture.width for picture in pictures) + _GAP * (len(pictures) - 1)
    height = max(picture.height for picture in pictures)
    sheet, left = Image.new("RGB", (width + width % 2, height + height % 2)), 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + _GAP
    return sheet


def _write_mp4(pictures: Iterator[Image.Image], path: Path, frames_per_second: float) -> None:
    """Write VP9, which players and browsers support and OpenCV can encode."""
    # Imported here, because it is slow.
    import cv2

    first = next(pictures)
    code = cv2.VideoWriter.fourcc(*"vp09")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, frames_per_second, first.size)
    try:
        if not writer.isOpened():
            raise UserError("OpenCV writes no MP4 here; give --out a name that ends in .gif")
        for picture in itertools.chain([first], pictures):
            writer.write(np.asarray(picture)[..., ::-1])
    finally:
        writer.release()


def _write_gif(pictures: Iterator[Image.Image], path: Path, frames_per_second: float) -> None:
    # Without dithering, still parts stay still: no flicker, and a smaller file.
    first, *later = (picture.quantize(256, dither=Image.Dither.NONE) for picture in pictures)
    options: dict[str, Any] = {"save_all": True, "append_images": later, "loop": 0}
    # GIF delays are in hundredths of a second.
    duration = round(100 / frames_per_second) * 10
    first.save(path, format="GIF", duration=duration, optimize=False, **options)
