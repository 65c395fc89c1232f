"""Imports agents of Stable-Baselines3, sb3-contrib, CleanRL and PyTorch.

The content tells the kind of file; for CleanRL's JAX models, the suffix. None of these libraries is
needed, nothing in a file is executed, and only weights are read.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.model_files import CLEANRL_SUFFIX, GZIP_MAGIC, ZIP_MAGIC
from rrl_agents.checkpoints.other_agents.agent import OtherAgent
from rrl_agents.checkpoints.other_agents.cleanrl import read_flax_model
from rrl_agents.checkpoints.other_agents.stable_baselines3 import (
    is_stable_baselines3,
    read_stable_baselines3,
)
from rrl_agents.checkpoints.other_agents.state_dict import PLAIN_AGENTS, read_torch_model
from rrl_agents.checkpoints.teacher_card import Teacher
from rrl_agents.checkpoints.zip_members import ZipMembers

MAX_FILE_BYTES = 1 << 30
"""Bound of a file, compressed or not, 1 GiB: 70 times a Nature CNN with its target network."""


def import_other_agent(path: Path, hints: Hints) -> Teacher:
    """Import an agent; nothing in its file is executed.

    Args:
        path: The file.
        hints: The user's hints, for ambiguous files.

    Returns:
        The acting network, with a card.

    Raises:
        ValueError: The file is damaged, unsafe or unsupported, or needs hints; the message begins
            with the path.
        Exception: It is damaged; of nearly any class.
    """
    data = read_bounded(path, MAX_FILE_BYTES, what="a model")
    try:
        agent = _read(data, path.suffix.lower() == CLEANRL_SUFFIX, hints)
        found = agent.network.num_actions
        if hints.num_actions not in (None, found):
            raise ValueError(f"it has {found} actions, not the {hints.num_actions} given")
        return agent.as_teacher(f"{path.name.partition('.')[0]}, {agent.library} {agent.algorithm}")
    except ValueError as error:
        error.args = (f"{path}: {error}",)
        raise


def _read(data: bytes, is_cleanrl: bool, hints: Hints) -> OtherAgent:
    if data.startswith(GZIP_MAGIC):
        data = _unpacked(data)
    if data.startswith(ZIP_MAGIC):
        archive = ZipMembers(data)
        is_sb3 = is_stable_baselines3(archive)
        _check_unsaid(hints, is_known=is_sb3 or is_cleanrl)
        if is_sb3:
            return read_stable_baselines3(archive)
        return read_torch_model(data, hints, is_cleanrl=is_cleanrl)
    if is_cleanrl:
        _check_unsaid(hints, is_known=True)
        return read_flax_model(data)
    raise ValueError(
        "no model of Stable-Baselines3 (.zip), of PyTorch 1.6 or newer (.pt, .pth) or of CleanRL "
        f"({CLEANRL_SUFFIX}); save it again with its own library, torch.save for PyTorch's"
    )


def _check_unsaid(hints: Hints, *, is_known: bool) -> None:
    """Refuse hints on facts that the file records itself, and Dopamine's agents."""
    if is_known and (hints.agent, hints.activation) != (None, None):
        raise ValueError("the file says agent and activation itself; leave them out")
    if hints.agent not in (None, *PLAIN_AGENTS):
        raise ValueError(
            f"of weights that PyTorch saved the agent is {', '.join(PLAIN_AGENTS)}, not "
            f"{hints.agent!r}"
        )


def _unpacked(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes unpacked; that is not a model")
    return content
