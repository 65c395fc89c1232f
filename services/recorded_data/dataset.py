"""A run's recorded data: its location, its fingerprint, and whether it fits the run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.recorded_rows import RecordedRows
from services.library.confined import Limits, run_confined
from services.replay.item_layout import ItemLayout
from services.shared.errors import UserError, user_errors

_READ_ENDS = "rrl_agents.checkpoints.dopamine_replay.episode_ends:read_episode_ends"
_LIMITS = Limits(memory_bytes=1 << 30, cpu_seconds=60, wall_seconds=120, output_bytes=1 << 24)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedData:
    """Data that was checked when the run was set up.

    Attributes:
        path: Directory of the replay buffer.
        number: Number of its checkpoint; None for the newest.
        fingerprint: Fingerprint of its content.
        transitions: Number of transitions, for the run's n.
    """

    path: str
    number: int | None
    fingerprint: str
    transitions: int

    def open(self) -> RecordedRows:
        """Open it again.

        Raises:
            UserError: it is missing, damaged, or other data.
        """
        rows = open_data(Path(self.path), self.number)
        if rows.fingerprint != self.fingerprint:
            raise UserError(
                f"{self.path} holds other data than when this run was set up (fingerprint "
                f"{rows.fingerprint[:16]} instead of {self.fingerprint[:16]}): give it the same "
                "data, or choose another --run"
            )
        return rows


def check_data(path: str, number: int | None, layout: ItemLayout) -> RecordedData:
    """Check that data fits a run; frames are not read.

    Args:
        path: An agent's directory, or its `checkpoints` or `replay_logs`.
        number: Number of the checkpoint; None for the newest.
        layout: Layout of the run's replay items.

    Raises:
        UserError: it is missing or damaged, has another game or stack, or has no transition.
    """
    rows = open_data(Path(path), number)
    recorded = (rows.stack_size, "uint8", rows.frame_shape)
    if recorded != (layout.stack_size, layout.frame_dtype, layout.frame_shape):
        raise UserError(
            f"{path} holds stacks of {rows.stack_size} frames uint8 {rows.frame_shape}, the "
            f"environment shows {layout.stack_size} frames {layout.frame_dtype} "
            f"{layout.frame_shape}: choose data of this game"
        )
    if rows.num_actions > layout.num_actions:
        raise UserError(
            f"{path} holds action {rows.num_actions - 1}, the environment has "
            f"{layout.num_actions} actions, from 0 on: choose data of this game"
        )
    transitions = len(rows.transition_rows(layout.n_step))
    if transitions == 0:
        raise UserError(
            f"{path} holds no whole transition of {layout.n_step} steps in its {rows.rows} rows: "
            "choose data of more play"
        )
    return RecordedData(
        path=path, number=number, fingerprint=rows.fingerprint, transitions=transitions
    )


def open_data(path: Path, number: int | None = None) -> RecordedRows:
    """Open a saved buffer, like `open_dopamine_replay`.

    Raises:
        UserError: it is missing or damaged.
    """
    with user_errors((ValueError, OSError)):
        return open_dopamine_replay(path, number, read_ends=_read_ends)


def _read_ends(path: Path, capacity: int) -> list[int]:
    """Episode ends are a pickle: read it in a confined process."""
    ends: list[int] = run_confined(
        _READ_ENDS, {"path": path, "capacity": capacity}, limits=_LIMITS, subject=path
    )
    return ends
