"""Writes recorded play as a Minari dataset, without loss.

Minari's library writes everything except the observations, which it would store as JPEG: images are
stored as PNG, which Minari also reads. An observation is the newest frame, as in a row of replay,
so that a dataset is as large as the play, and `conversion` restores the same rows.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rrl_agents.checkpoints.minari_files.conversion import DATASET_FILE
from rrl_agents.checkpoints.recorded_rows import RecordedRows

_MOST_CHANNELS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlayedEpisode:
    """R rows of one episode, in time order.

    Attributes:
        frames: Iterator of R frames, uint8 or float32 [*frame].
        action: int32 [R].
        reward: float32 [R].
        terminated: Whether the last row's action ended the episode by the rules. Otherwise the last
            row is not a step: only its frame counts, as the state after the last step.
    """

    frames: Iterable[NDArray[Any]]
    action: NDArray[np.int32]
    reward: NDArray[np.float32]
    terminated: bool

    @property
    def steps(self) -> int:
        """Steps T of the episode."""
        return len(self.action) - (not self.terminated)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinariDescription:
    """The description of a dataset.

    Attributes:
        dataset_id: NAMESPACE/NAME-vN, the folder's path in Minari's datasets.
        frame_shape: Shape of an observation.
        frame_dtype: "uint8" or "float32".
        num_actions: Number of discrete actions.
        algorithm: The player.
        text: Further notes for readers.
    """

    dataset_id: str
    frame_shape: tuple[int, ...]
    frame_dtype: str
    num_actions: int
    algorithm: str
    text: str


def write_minari(
    folder: Path, episodes: Iterable[PlayedEpisode], about: MinariDescription
) -> tuple[int, int]:
    """Write a dataset; drops episodes without a step, and the axis of a single channel.

    Args:
        folder: The dataset's folder; must exist and be empty.
        episodes: The play.
        about: The description of the dataset.

    Returns:
        Episodes and steps written.

    Raises:
        ValueError: there is no step, or Minari does not accept the dataset_id or the images.
        OSError: it cannot be written.
    """
    from minari import __version__
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.dataset.minari_storage import MinariStorage

    parse_dataset_id(about.dataset_id)
    about = _with_images_of_minari(about)
    observations, actions = _spaces(about)
    storage = MinariStorage.new(
        (folder / DATASET_FILE).parent,
        observation_space=observations,
        action_space=actions,
        data_format="hdf5",
    )
    count = steps = 0
    for episode in episodes:
        if (length := episode.steps) < 1:
            continue
        ends = [step == length - 1 for step in range(length)]
        buffer = EpisodeBuffer(
            id=count,
            # As NumPy arrays, which HDF5 stores with their types.
            actions=[*episode.action[:length].astype(np.int64)],
            rewards=[*episode.reward[:length]],
            terminations=[end and episode.terminated for end in ends],
            truncations=[end and not episode.terminated for end in ends],
        )
        storage.update_episodes([buffer])
        with h5py.File(folder / DATASET_FILE, "a") as file:
            _write_observations(file[f"episode_{count}"], episode, about)
        count, steps = count + 1, steps + length
    if count == 0:
        raise ValueError("there is no step to write")
    storage.update_metadata(
        {
            "dataset_id": about.dataset_id,
            "minari_version": __version__,
            "algorithm_name": about.algorithm,
            "description": about.text,
            "dataset_size": storage.get_size(),
        }
    )
    return count, steps


def episodes_of(rows: RecordedRows) -> Iterator[PlayedEpisode]:
    """The episodes of recorded play, without the padding before them; one at a time in memory."""
    columns = rows.columns
    ends = columns.terminal | columns.cut_after
    frames: list[NDArray[np.uint8]] = []
    first = 0
    for chunk in rows.chunks():
        for index, frame in enumerate(chunk.frame):
            row = chunk.first_row + index
            if not columns.is_state[row] and not frames:
                first = row + 1
                continue
            frames.append(frame.copy())
            if ends[row]:
                yield PlayedEpisode(
                    frames=frames,
                    action=columns.action[first : row + 1],
                    reward=columns.reward[first : row + 1],
                    terminated=bool(columns.terminal[row]),
                )
                frames, first = [], row + 1


def _spaces(about: MinariDescription) -> tuple[Any, Any]:
    from gymnasium import spaces

    low, high = (0, 255) if about.frame_dtype == "uint8" else (-np.inf, np.inf)
    box = spaces.Box(low, high, about.frame_shape, np.dtype(about.frame_dtype).type)
    return box, spaces.Discrete(about.num_actions)


def _with_images_of_minari(about: MinariDescription) -> MinariDescription:
    """The description with a shape that PNG supports, if Minari would treat it as images."""
    from minari.dataset.minari_storage import is_image_space

    *sides, channels = about.frame_shape
    if len(sides) != 2 or not is_image_space(_spaces(about)[0]):
        return about
    if channels == 1:
        return dataclasses.replace(about, frame_shape=tuple(sides))
    if channels > _MOST_CHANNELS:
        raise ValueError(
            f"frames of {sides[0]} x {sides[1]} pixels have {channels} channels; Minari keeps "
            f"images of at most {_MOST_CHANNELS}, so play in gray or RGB, or in less than 32 pixels"
        )
    return about


def _write_observations(
    group: h5py.Group, episode: PlayedEpisode, about: MinariDescription
) -> None:
    """Write T + 1 observations; zeros after a terminal step, where replay has no frame."""
    from minari.dataset.minari_storage import is_image_space

    frames = [frame.reshape(about.frame_shape) for frame in episode.frames]
    if episode.terminated:
        frames.append(np.zeros(about.frame_shape, about.frame_dtype))
    if not is_image_space(_spaces(about)[0]):
        group.create_dataset("observations", data=np.stack(frames), compression="gzip")
        return
    packed = group.create_dataset("observations", (len(frames),), h5py.vlen_dtype(np.uint8))
    for index, frame in enumerate(frames):
        packed[index] = _png(frame)


def _png(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    encoded = io.BytesIO()
    Image.fromarray(frame).save(encoded, format="PNG", compress_level=1)
    return np.frombuffer(encoded.getvalue(), np.uint8)
