"""A look at a replay buffer that Dopamine saved: all of it but its frames is read."""

from __future__ import annotations

from pathlib import Path

from rrl_agents.checkpoints.dopamine_replay.files import (
    buffer_numbers,
    find_replay,
    replay_directories,
)
from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.inspection.findings import Inspection, ReplayFacts


def has_replay(path: Path, number: int | None = None) -> bool:
    """Whether frames of a buffer lie there, of the given number or any."""
    directories = replay_directories(path)
    return any(number is None or number in buffer_numbers(each) for each in directories)


def replay_facts(path: Path, number: int | None = None) -> ReplayFacts:
    """Read a buffer's columns but the frames.

    Args:
        path: The agent's directory, or its `checkpoints` or `replay_logs`.
        number: Which iteration's buffer; the newest whole one when None.

    Returns:
        Its sizes.

    Raises:
        ValueError: It is not whole or damaged; the message names the file.
    """
    files = find_replay(path, number)
    rows = open_dopamine_replay(path, files.number)
    height, width = rows.frame_shape
    return ReplayFacts(
        number=files.number,
        rows=rows.rows,
        frame_shape=(height, width),
        stack_size=rows.stack_size,
        transitions=rows.count_transitions(1),
    )


def inspect_replay_directory(path: Path, number: int | None = None) -> Inspection:
    """Look at a directory that holds recorded data and no agent.

    Args:
        path: The agent's directory, or its `checkpoints` or `replay_logs`.
        number: Which iteration's buffer; the newest whole one when None.

    Returns:
        What was found; what is wrong is among it.
    """
    replay, problems = None, []
    try:
        replay = replay_facts(path, number)
    except ValueError as error:
        problems.append(str(error))
    return Inspection(
        path=str(path),
        format="Dopamine replay buffer",
        details=("recorded data without an agent",),
        checkpoint_number=number if replay is None else replay.number,
        replay=replay,
        problems=tuple(problems),
    )
