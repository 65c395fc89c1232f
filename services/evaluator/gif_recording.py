"""Writes an episode as a GIF: at natural speed, enlarged, bounded in length and size."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rrl_agents.durable_files import write_whole

MAX_SECONDS = 60.0
"""Longest play shown; the rest of an episode is left out."""

_MIN_SCALE = 2
_MIN_SIDE = 160
"""Least pixels of the longer side, about the size of Atari frames with each pixel drawn as 2x2."""
_GOLDEN_RATIO = 0.618034
"""Steps of this fraction of the colour circle keep any number of hues apart."""
_MIN_FRAMES = 2


def record_gif(
    frames: Sequence[NDArray[Any]],
    path: Path,
    frames_per_second: float,
    max_bytes: int = 4_000_000,
) -> int:
    """Writes the start of an episode as a looping GIF, each pixel drawn as a square of several.

    Object channels, as in MinAtar, each get their own colour, the first ones on top. Vectors cannot
    be drawn: no file is written. The speed stays natural: if the episode is longer than
    `MAX_SECONDS` or the file would exceed `max_bytes`, the end is left out. Repeated frames are
    merged into a longer one.

    Args:
        frames: At least one, all of one shape, in the order of play: uint8 [H, W] (grey),
            [H, W, 3] (RGB) or [H, W, C] (objects where not 0, C up to 255); or vectors [D], or
            images of floats.
        path: The file to write; replaced only by a complete one.
        frames_per_second: Frames of `frames` per second of play, in (0, 100], because GIF delays
            are in hundredths of a second.
        max_bytes: Largest file, unless two frames are larger.

    Returns:
        The number of frames shown; 0 for vectors and floats.
    """
    if frames[0].ndim == 1 or frames[0].dtype != np.uint8:
        return 0
    shown = min(len(frames), max(_MIN_FRAMES, int(MAX_SECONDS * frames_per_second)))
    images = _to_images(frames[:shown])
    encoded = _encode(images, frames_per_second)
    while len(encoded) > max_bytes and shown > _MIN_FRAMES:
        # The size grows about linearly with the frames: aim a little below the limit.
        shown = max(_MIN_FRAMES, min(shown - 1, int(0.95 * shown * max_bytes / len(encoded))))
        encoded = _encode(images[:shown], frames_per_second)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, encoded)
    return shown


def as_picture(frame: NDArray[Any]) -> Image.Image | None:
    """An observed frame as an RGB picture of the same size; None for vectors and floats.

    Args:
        frame: A frame as in `record_gif`.
    """
    if frame.ndim == 1 or frame.dtype != np.uint8:
        return None
    is_plain = frame.ndim == 2 or frame.shape[-1] == 3
    return (Image.fromarray(np.asarray(frame)) if is_plain else _of_objects(frame)).convert("RGB")


def _to_images(frames: Sequence[NDArray[np.uint8]]) -> list[Image.Image]:
    height, width, *channels = frames[0].shape
    scale = max(_MIN_SCALE, _MIN_SIDE // max(height, width))
    if channels in ([], [3]):
        images = [Image.fromarray(np.asarray(frame)) for frame in frames]
        images = _with_one_palette(images) if channels else images
    else:
        images = [_of_objects(frame) for frame in frames]
    size = (width * scale, height * scale)
    return [image.resize(size, Image.Resampling.NEAREST) for image in images]


def _of_objects(frame: NDArray[np.uint8]) -> Image.Image:
    """The first channel that is not 0 in a cell gives its colour; black if all are 0."""
    is_there = frame != 0
    first = np.where(is_there.any(axis=-1), is_there.argmax(axis=-1) + 1, 0)
    image = Image.fromarray(first.astype(np.uint8))
    colours = [(0, 0, 0), *(channel_colour(index) for index in range(frame.shape[-1]))]
    image.putpalette([part for colour in colours for part in colour])
    return image


def channel_colour(index: int) -> tuple[int, int, int]:
    """The colour of a channel's objects: red, green and blue, 0 to 255."""
    red, green, blue = colorsys.hsv_to_rgb((_GOLDEN_RATIO * index) % 1.0, 0.65, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _with_one_palette(images: Sequence[Image.Image]) -> list[Image.Image]:
    """Gives all images one palette, taken from a few images spread over the episode.

    One palette without dithering keeps still parts still: no flicker, and a smaller file.
    """
    samples = [images[index] for index in np.linspace(0, len(images) - 1, 8).astype(int)]
    sheet = Image.fromarray(np.concatenate([np.asarray(image) for image in samples]))
    palette = sheet.quantize(256, dither=Image.Dither.NONE)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def _encode(images: Sequence[Image.Image], frames_per_second: float) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"save_all": True, "append_images": images[1:], "loop": 0}
    # Pillow itself rounds to hundredths; browsers slow down anything shorter than two.
    duration = max(20, round(100 / frames_per_second) * 10)
    images[0].save(buffer, format="GIF", duration=duration, optimize=False, **options)
    return buffer.getvalue()
