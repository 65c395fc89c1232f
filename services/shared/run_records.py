"""Files of a run's folder that hold one record with its digest."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.durable_files import write_whole
from rrl_agents.typed_json import encode
from services.shared.errors import UserError

_MAX_FILE_BYTES = 16 * 2**20

T = TypeVar("T")


def write_record(file: Path, record: object) -> None:
    """Write a dataclass atomically.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(file, seal(encode(record), indent=1) + "\n")


def read_record(file: Path, kind: type[T]) -> T | None:
    """Read a record; None if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not file.exists():
        return None
    try:
        text = read_bounded(file, _MAX_FILE_BYTES, what=f"a run's {file.name}").decode()
        return decode_sealed(kind, text, file.name)
    except ValueError as error:
        raise UserError(
            f"{file} cannot be read ({error}); restore it, or move it away to continue without it"
        ) from error
