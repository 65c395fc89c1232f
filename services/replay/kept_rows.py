"""Items of a table that no longer changes, kept in this process: frames once, not once per item.

    Reverb table, each item once --> TableReader --> KeptRows --draw--> Rows --> ReplayReader

Neighbouring items share most of their frames: with 4 stacked frames and 3 steps, a frame is in up
to 7 of them. Here each frame is kept once, however often items show it, and an item is the numbers
of its frames. What is drawn has the columns of `item_layout`, as if it had come from Reverb.
"""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.durable_files import replacing
from services.replay.item_layout import Columns, ItemLayout
from services.replay.rows import Rows
from services.replay.sample_prefetcher import read_once


@dataclasses.dataclass(frozen=True)
class KeptRows:
    """N items; `keep` makes them, `load` reads those that `save` wrote.

    Attributes:
        frames: The layout's frame type [F, H, W], every frame once.
        frame_number: int32 [N, window], which frames an item shows.
        scalars: The other columns of the layout, each with a leading axis N.
    """

    frames: NDArray[Any]
    frame_number: NDArray[np.int32]
    scalars: Columns

    @property
    def count(self) -> int:
        """Items N."""
        return len(self.frame_number)

    def draw(self, numbers: NDArray[np.int64]) -> Rows:
        """The items with these numbers, int [R] in [0, N): all as likely as the numbers are."""
        columns = {name: column[numbers] for name, column in self.scalars.items()}
        return Rows(
            {"frame": self.frames[self.frame_number[numbers]], **columns},
            item_key=numbers.astype(np.uint64),
            relative_probability=np.ones(len(numbers)),
        )

    def save(self, path: Path) -> None:
        """Write them to a file, in the place of one of that name.

        Raises:
            OSError: no space, or no permission.
        """
        with replacing(path) as file:
            np.savez(file, frames=self.frames, frame_number=self.frame_number, **self.scalars)


class TableReader:
    """Reads tables that give each item once, as if they were one.

    Args:
        addresses: "host:port" of each replay server.
        table: Its table.
        layout: Shapes of the items.
    """

    def __init__(self, addresses: Sequence[str], table: str, layout: ItemLayout) -> None:
        self._addresses = tuple(addresses)
        self._table = table
        self._layout = layout
        self._read: list[Rows] = []

    def read(self) -> KeptRows:
        """All items; after an interruption the next call reads on.

        Raises:
            ReplayTimeout: a server does not answer.
            SamplingFailed: a server is down, or refused to sample.
            ValueError: the tables are empty.
        """
        for address in self._addresses:
            self._read.extend(read_once(address, self._table, self._layout))
        return keep(self._read, self._layout)


def keep(blocks: Iterable[Rows], layout: ItemLayout) -> KeptRows:
    """Items block by block, at least one; equal frames are kept once.

    Raises:
        ValueError: there is no item.
    """
    numbers: dict[bytes, int] = {}
    frames: list[NDArray[Any]] = []
    frame_numbers: list[list[int]] = []
    scalars: dict[str, list[NDArray[Any]]] = {name: [] for name in _scalar_columns(layout)}
    for block in blocks:
        for item in block.columns["frame"]:
            frame_numbers.append([_number_of(frame, numbers, frames) for frame in item])
        for name, column in scalars.items():
            column.append(block.columns[name])
    if not frame_numbers:
        raise ValueError("there is no item to keep")
    return KeptRows(
        np.stack(frames),
        np.array(frame_numbers, np.int32),
        {name: np.concatenate(column) for name, column in scalars.items()},
    )


def _number_of(frame: NDArray[Any], numbers: dict[bytes, int], frames: list[NDArray[Any]]) -> int:
    """The number of a frame, a new one where it has not been seen before."""
    # 128 bits: two frames of a billion are alike with a probability of 1e-21.
    digest = hashlib.blake2b(frame.tobytes(), digest_size=16).digest()
    number = numbers.setdefault(digest, len(frames))
    if number == len(frames):
        frames.append(frame.copy())
    return number


def _scalar_columns(layout: ItemLayout) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {name: spec for name, spec in layout.item_columns().items() if name != "frame"}


def load(path: Path, layout: ItemLayout) -> KeptRows:
    """Items that `KeptRows.save` wrote.

    Raises:
        ValueError: the file is damaged, or its items have other shapes.
        OSError: it is missing, or cannot be read.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    items = len(found.get("frame_number", ()))
    wanted = {
        name: ((items, *shape), dtype) for name, (shape, dtype) in _scalar_columns(layout).items()
    }
    wanted["frame_number"] = ((items, layout.window), np.dtype(np.int32))
    frames = found.pop("frames", np.zeros(0, layout.frame_dtype))
    fits = frames.shape[1:] == layout.frame_shape and frames.dtype == layout.frame_dtype
    if not fits or {name: (array.shape, array.dtype) for name, array in found.items()} != wanted:
        raise ValueError(f"{path} holds items of other shapes than those of this run")
    numbers = found.pop("frame_number")
    if not items or numbers.min() < 0 or numbers.max() >= len(frames):
        raise ValueError(f"{path} is damaged: its items show frames that it does not hold")
    return KeptRows(frames, numbers, found)
