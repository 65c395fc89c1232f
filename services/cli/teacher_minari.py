"""`rrl teacher minari`: the parameters are the flags."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from rrl_agents.durable_files import rename_whole
from services.shared.errors import UserError

_CONVERSION = "rrl_agents.checkpoints.minari_files.conversion"
_REFUSED = 2
"""Its exit code for what it refuses with a message."""


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
        rows = _convert(dataset, partial, stack_size)
        rename_whole(partial, out)
    except OSError as error:
        raise UserError(f"--out: cannot make {out} ({error.strerror})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"wrote {rows} rows to {out}")


def _convert(dataset: Path, out: Path, stack_size: int) -> int:
    command = (sys.executable, "-m", _CONVERSION, str(dataset), str(out), str(stack_size))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == _REFUSED:
        raise UserError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise UserError(
            f"{dataset}: HDF5's library broke down on this file (exit {done.returncode}), so it is "
            "damaged or was made to harm; nothing was written. Take it from its source again"
        )
    return int(done.stdout)
