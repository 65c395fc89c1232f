"""Recorded data as a run's choice: its place, its fingerprint, and whether it fits the run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.checkpoints.dopamine_replay.rows import DopamineReplay, open_dopamine_replay
from services.replay.item_layout import ItemLayout
from services.shared.errors import UserError, user_errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedData:
    """Data that was checked when a run was set up.

    Attributes:
        path: Directory of the replay buffer.
        number: Which checkpoint of it; the newest when None.
        fingerprint: Of its content.
        transitions: How many it holds, for the run's n.
    """

    path: str
    number: int | None
    fingerprint: str
    transitions: int

    def open(self) -> DopamineReplay:
        """Open it again.

        Raises:
            UserError: it is missing, damaged, or other data.
        """
        rows = _open(self.path, self.number)
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
        number: Which checkpoint; the newest when None.
        layout: What the run's replay holds.

    Raises:
        UserError: it is missing, damaged, of another game or stack, or holds no transition.
    """
    rows = _open(path, number)
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
    transitions = rows.count_transitions(layout.n_step)
    if transitions == 0:
        raise UserError(
            f"{path} holds no whole transition of {layout.n_step} steps in its {rows.rows} rows: "
            "choose data of more play"
        )
    return RecordedData(
        path=path, number=number, fingerprint=rows.fingerprint, transitions=transitions
    )


def _open(path: str, number: int | None) -> DopamineReplay:
    with user_errors((ValueError, OSError)):
        return open_dopamine_replay(Path(path), number)
