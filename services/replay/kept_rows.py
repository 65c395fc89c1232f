"""Keeps the items of a complete table in this process, each frame once instead of once per item.

    Reverb table, each item once --> TableReader --> KeptRows --draw--> Rows --> batches

Neighbouring items share most of their frames: with 4 stacked frames and 3 steps, a frame is in up
to 7 items. Here each frame is stored once, and an item is a list of frame numbers. Drawn items have
the columns of `item_layout`, as if they came from Reverb.
"""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.durable_files import replacing
from services.replay.item_layout import Columns, ItemLayout
from services.replay.samples import Sample, batches_of, split_rows
from services.replay.table_names import TEACHER_TABLE
from services.replay.undecoded_rows import Rows


@dataclasses.dataclass(frozen=True)
class KeptRows:
    """N items; `RowKeeper` collects them, `save` writes them to a file and `load` reads them.

    Attributes:
        frames: The layout's frame type [F, H, W], every frame once.
        frame_number: int32 [N, window], indices into `frames` of each item's frames.
        scalars: The other columns of the layout, each with a leading axis N.
    """

    frames: NDArray[Any]
    frame_number: NDArray[np.int32]
    scalars: Columns

    @property
    def count(self) -> int:
        """Items N."""
        return len(self.frame_number)

    def pick(
        self, generators: Sequence[np.random.Generator], rows: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Draw item numbers for K batches: int64 [sum of rows], uniform in [0, N).

        Args:
            generators: The random generator of each batch.
            rows: int64 [K], the number of items to draw for each batch.
        """
        draws = zip(generators, rows, strict=True)
        return np.concatenate([one.integers(self.count, size=size) for one, size in draws])

    def draw(self, numbers: NDArray[np.int64]) -> Rows:
        """The items with these numbers, int [R] in [0, N), as rows drawn uniformly."""
        columns = {name: column[numbers] for name, column in self.scalars.items()}
        return Rows(
            {"frame": self.frames[self.frame_number[numbers]], **columns},
            item_key=numbers.astype(np.uint64),
            relative_probability=np.ones(len(numbers)),
        )

    def numbered(self) -> KeptRows:
        """The same items with frame numbers in place of frames: drawing them copies no pixels."""
        return dataclasses.replace(self, frames=np.arange(len(self.frames), dtype=np.int32))

    def save(self, path: Path) -> None:
        """Write the items to a file, replacing an existing one.

        Raises:
            OSError: no space, or no permission.
        """
        with replacing(path) as file:
            np.savez(file, frames=self.frames, frame_number=self.frame_number, **self.scalars)


class RowKeeper:
    """Collects items block by block, and stores only those frames of a block that are new.

    Args:
        layout: Shapes of the items.
    """

    def __init__(self, layout: ItemLayout) -> None:
        self._numbers: dict[bytes, int] = {}
        self._frames = np.empty((1, *layout.frame_shape), layout.frame_dtype)
        self._frame_numbers: list[list[int]] = []
        self._last: NDArray[Any] | None = None
        self._scalars: dict[str, list[NDArray[Any]]] = {
            name: [] for name in _scalar_columns(layout)
        }

    def add(self, block: Rows) -> None:
        """Keep the items of a block."""
        for item in block.columns["frame"]:
            # Within an episode, an item shares all but its newest frame with the item before it.
            follows = self._last is not None and np.array_equal(item[:-1], self._last[1:])
            known = self._frame_numbers[-1][1:] if follows else []
            self._frame_numbers.append(
                known + [self._number(frame) for frame in item[len(known) :]]
            )
            self._last = item
        if self._last is not None:
            # A view would keep the whole block in memory.
            self._last = self._last.copy()
        for name, column in self._scalars.items():
            column.append(block.columns[name].copy())

    def rows(self) -> KeptRows:
        """All items; `add` must not be called afterwards.

        Raises:
            ValueError: none were added.
        """
        if not self._frame_numbers:
            raise ValueError("the table has no items to keep; fill it first")
        self._resize(len(self._numbers))
        return KeptRows(
            self._frames,
            np.array(self._frame_numbers, np.int32),
            {name: np.concatenate(column) for name, column in self._scalars.items()},
        )

    def _number(self, frame: NDArray[Any]) -> int:
        """The number of a frame; a frame that was not seen before gets a new one."""
        # With 128 bits, any two of a billion frames collide with a probability of 1e-21.
        digest = hashlib.blake2b(frame.tobytes(), digest_size=16).digest()
        known = len(self._numbers)
        number = self._numbers.setdefault(digest, known)
        if number == known:
            if known == len(self._frames):
                self._resize(known + known // 8 + 1)
            self._frames[number] = frame
        return number

    def _resize(self, frames: int) -> None:
        # In place, without a copy of a large array; no view of it exists yet.
        self._frames.resize((frames, *self._frames.shape[1:]), refcheck=False)


def draw_numbered(
    kept: KeptRows,
    layout: ItemLayout,
    *,
    seed: int,
    updates: range,
    batch_size: int,
    discount: float,
) -> Sample:
    """Batches [K, B] of kept rows alone, with frame numbers in place of observations.

    Args:
        kept: Result of `KeptRows.numbered`.
        layout: Shapes of the items.
        seed: As in `split_rows`, whose random generators draw the rows.
        updates: As in `split_rows`.
        batch_size: Rows B of a batch.
        discount: gamma, in [0, 1], per step.

    Returns:
        Batches whose observations are int32 [K, B, stack], or [K, B] without an axis of frames.
    """
    generators, rows = split_rows(seed, updates, batch_size, 1.0)
    taken = kept.draw(kept.pick(generators, rows[TEACHER_TABLE]))
    return batches_of(taken, rows, layout, discount=discount, importance_exponent=0.0)


def _scalar_columns(layout: ItemLayout) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {name: spec for name, spec in layout.item_columns().items() if name != "frame"}


def load(path: Path, layout: ItemLayout) -> KeptRows:
    """Read the items that `KeptRows.save` wrote.

    Raises:
        ValueError: the file is damaged, or its items have other shapes.
        OSError: the file is missing, or cannot be read.
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
