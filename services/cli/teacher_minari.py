"""`rrl teacher minari`: the parameters are the flags."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from rrl_agents.durable_files import rename_whole
from services.library.confined import Limits, run_confined
from services.shared.errors import UserError

_CONVERSION = "rrl_agents.checkpoints.minari_files.conversion:convert_minari"


def minari(
    dataset: Annotated[Positional[Path], tyro.conf.arg(metavar="DATASET")],
    *,
    out: Path,
    stack_size: int = 4,
) -> None:
    """Turn a Minari dataset into a replay buffer as Dopamine saves it.

    The buffer is what `rrl teacher label` and training from recorded data take. The dataset's
    observations must be single gray frames, uint8 [H, W], preprocessed as the teacher's are
    (Minari stores them as JPEG); most public Atari datasets of Minari hold colour screens instead,
    which no teacher of 84 x 84 stacks knows. HDF5 storage only.

    Args:
        dataset: Its directory, e.g. ~/.minari/datasets/pong/ours-v0.
        out: Directory to write; must not exist.
        stack_size: Frames of an observation.

    Raises:
        UserError: It is not such a dataset, or damaged, or cannot be written.
    """
    if out.exists():
        raise UserError(f"--out: {out} exists already; choose another place")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        arguments = {"dataset": dataset, "out": partial, "stack_size": stack_size}
        rows = run_confined(_CONVERSION, arguments, limits=_limits(dataset), subject=dataset)
        rename_whole(partial, out)
    except OSError as error:
        raise UserError(f"--out: cannot make {out} ({error.strerror})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"wrote {rows} rows to {out}")


def _limits(dataset: Path) -> Limits:
    """Ten million steps fit: columns into memory, frames on disk. Time goes with the data."""
    mebibytes = sum(file.stat().st_size for file in dataset.rglob("*.hdf5")) >> 20
    seconds = 60 + mebibytes
    return Limits(
        memory_bytes=1 << 30,
        cpu_seconds=seconds,
        wall_seconds=10 * seconds,
        file_bytes=64 << 30,
    )
