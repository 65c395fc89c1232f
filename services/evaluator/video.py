"""One episode as a GIF: at natural speed, twice as large, bounded in length and size."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SECONDS = 60.0
"""Longest play shown; the rest of an episode is left out."""

_SCALE = 2
_MIN_FRAMES = 2


def record_gif(
    frames: Sequence[NDArray[np.uint8]],
    path: Path,
    frames_per_second: float,
    max_bytes: int = 4_000_000,
) -> int:
    """Writes the start of an episode as a looping GIF, each pixel drawn as 2x2.

    The speed stays natural: where the episode is longer than `MAX_SECONDS` or the file would
    exceed `max_bytes`, the end is left out. Frames that repeat are merged into a longer one.

    Args:
        frames: uint8 [H, W] (grey) or [H, W, 3] (RGB), all of one shape, in the order of play.
        path: The file to write; replaced only by a complete one.
        frames_per_second: Frames of `frames` per second of play, in (0, 100].
        max_bytes: Largest file.

    Returns:
        How many of the frames are shown.

    Raises:
        ValueError: Frames are missing or of another type or shape, the rate is out of range, or
            not even two frames fit.
    """
    _check(frames, frames_per_second)
    shown = min(len(frames), max(_MIN_FRAMES, int(MAX_SECONDS * frames_per_second)))
    images = _to_images(frames[:shown])
    encoded = _encode(images, frames_per_second)
    while len(encoded) > max_bytes:
        if shown <= _MIN_FRAMES:
            raise ValueError(
                f"max_bytes is {max_bytes}, {shown} frames need {len(encoded)}; allow more"
            )
        # Size grows about linearly with frames: aim a little below the limit.
        shown = max(_MIN_FRAMES, min(shown - 1, int(0.95 * shown * max_bytes / len(encoded))))
        encoded = _encode(images[:shown], frames_per_second)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(encoded)
    unfinished.replace(path)
    return shown


def _check(frames: Sequence[NDArray[np.uint8]], frames_per_second: float) -> None:
    # A GIF counts hundredths of a second.
    if not 0 < frames_per_second <= 100:
        raise ValueError(f"frames_per_second is {frames_per_second}, must be in (0, 100]")
    if len(frames) == 0:
        raise ValueError("a video needs at least one frame")
    shape = frames[0].shape
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or 0 in shape:
        raise ValueError(f"frames have shape {shape}, must be [H, W] or [H, W, 3]")
    for frame in frames:
        if frame.dtype != np.uint8 or frame.shape != shape:
            raise ValueError(
                f"frame is {frame.dtype} {frame.shape}, all must be uint8 and of shape {shape}"
            )


def _to_images(frames: Sequence[NDArray[np.uint8]]) -> list[Image.Image]:
    size = (frames[0].shape[1] * _SCALE, frames[0].shape[0] * _SCALE)
    images = [Image.fromarray(np.asarray(frame)) for frame in frames]
    if frames[0].ndim == 3:
        images = _with_one_palette(images)
    return [image.resize(size, Image.Resampling.NEAREST) for image in images]


def _with_one_palette(images: Sequence[Image.Image]) -> list[Image.Image]:
    """Gives all images the colours of a few spread over the episode.

    One palette, without dithering, keeps still parts still: no flicker, and a small file.
    """
    samples = [images[index] for index in np.linspace(0, len(images) - 1, 8).astype(int)]
    sheet = Image.fromarray(np.concatenate([np.asarray(image) for image in samples]))
    palette = sheet.quantize(256, dither=Image.Dither.NONE)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def _encode(images: Sequence[Image.Image], frames_per_second: float) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"save_all": True, "append_images": images[1:], "loop": 0}
    # Pillow rounds to hundredths itself; browsers slow down anything shorter than two.
    duration = max(20, round(100 / frames_per_second) * 10)
    images[0].save(buffer, format="GIF", duration=duration, optimize=False, **options)
    return buffer.getvalue()
