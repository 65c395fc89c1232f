"""`rrl teacher minari`: the parameters are the flags."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from rrl_agents.checkpoints.minari_files.conversion import DATASET_FILE
from rrl_agents.durable_files import rename_whole
from services.library.catalogue import locate
from services.library.confined import Limits, run_confined
from services.recorded_data.dataset import open_data
from services.replay.table_names import STUDENT_TABLE
from services.shared.errors import UserError, user_errors
from services.shared.run_config import CONFIG_FILE

_CONVERSION = "rrl_agents.checkpoints.minari_files.conversion:convert_minari"


def minari(
    source: Annotated[Positional[str], tyro.conf.arg(metavar="DATASET|RUN|DATA")],
    *,
    out: Path,
    stack_size: int = 4,
    table: Literal["student", "teacher"] = "student",
) -> None:
    """Convert a Minari dataset into recorded data, or a run's play or recorded data into a dataset.

    A dataset becomes a replay buffer in Dopamine's format, for `rrl teacher label` and for training
    from recorded data. Its observations must be single gray frames, uint8 [H, W], preprocessed like
    the teacher's; most public Atari datasets of Minari hold colour screens instead, which teachers
    of 84 x 84 stacks cannot use. Only HDF5 storage is supported.

    The replay of a run with --one-process, or a replay buffer saved by Dopamine, becomes a Minari
    dataset without loss. An observation is the newest frame of a stack, of any supported type;
    rewards are those the student learned from, which are clipped for Atari.

    Args:
        source: Directory of a dataset, e.g. ~/.minari/datasets/pong/ours-v0; folder of a finished
            or stopped run; or recorded data, as for `rrl teacher label`.
        out: Directory to write; must not exist. The last two parts of a dataset's path are its id
            and must end in -vN: ~/.minari/datasets/pong/ours-v0.
        stack_size: Frames stacked in one observation, if DATASET is converted.
        table: Which of a run's replay tables to convert, if RUN is.

    Raises:
        UserError: It is not such a dataset, run or data, is damaged, or cannot be written.
    """
    if out.exists():
        raise UserError(f"--out: {out} exists already; choose another directory")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    dataset = Path(source)
    try:
        if (dataset / DATASET_FILE).exists():
            arguments = {"dataset": dataset, "out": partial, "stack_size": stack_size}
            rows = run_confined(_CONVERSION, arguments, limits=_limits(dataset), subject=dataset)
            written = f"{rows} rows"
        else:
            written = _export(source, table, partial, _dataset_id(out))
        rename_whole(partial, out)
    except OSError as error:
        raise UserError(f"--out: cannot make {out} ({error.strerror})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"wrote {written} to {out}")


def _limits(dataset: Path) -> Limits:
    """Bounds for ten million steps: columns in memory, frames on disk, time with the data."""
    mebibytes = sum(file.stat().st_size for file in dataset.rglob("*.hdf5")) >> 20
    seconds = 60 + mebibytes
    return Limits(
        memory_bytes=1 << 30,
        cpu_seconds=seconds,
        wall_seconds=10 * seconds,
        file_bytes=64 << 30,
    )


def _export(source: str, table: str, folder: Path, identity: str) -> str:
    """Write a dataset from a run's play or recorded data; returns a description of it."""
    # Only this direction needs these.
    from rrl_agents.checkpoints.minari_files.writing import (
        MinariDescription,
        episodes_of,
        write_minari,
    )

    text = (
        "Written by rrl teacher minari. An observation is the newest frame alone; behind a "
        "terminal step it is zeros, as replay keeps none."
    )
    folder.mkdir(parents=True)
    with user_errors((ValueError,)):
        if (Path(source) / CONFIG_FILE).is_file():
            from services.launcher.run_play import run_play

            experiment, episodes = run_play(Path(source), table)
            layout = experiment.layout
            clipped = ", clipped to [-1, 1]" if layout.clips_rewards else ""
            about = MinariDescription(
                dataset_id=identity,
                frame_shape=layout.frame_shape,
                frame_dtype=layout.frame_dtype,
                num_actions=layout.num_actions,
                algorithm=experiment.recipe.name if table == STUDENT_TABLE else "teacher",
                text=f"{text} {experiment.spec.name}, stacks of {layout.stack_size} frames; "
                f"rewards as stored{clipped}.",
            )
        else:
            rows = open_data(Path(locate(source)))
            episodes = episodes_of(rows)
            about = MinariDescription(
                dataset_id=identity,
                frame_shape=rows.frame_shape,
                frame_dtype="uint8",
                num_actions=rows.num_actions,
                algorithm="recorded data",
                text=f"{text} Stacks of {rows.stack_size} frames; rewards as recorded.",
            )
        written, steps = write_minari(folder, episodes, about)
    return f"{written} episodes of {steps} steps"


def _dataset_id(out: Path) -> str:
    """The id of the dataset in a folder, which Minari derives from the folder's path.

    Raises:
        UserError: Minari does not accept such an id.
    """
    identity = "/".join(out.absolute().parts[-2:])
    if re.fullmatch(r"[-\w]{2,}/[-\w]+-v\d+", identity) is None:
        raise UserError(
            f"--out: Minari would call it {identity}; give a folder like pong/ours-v0: letters, "
            "digits, '-' and '_', and a version at the end"
        )
    return identity
