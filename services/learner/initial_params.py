"""The initial parameters of a student whose method takes them from an agent."""

from __future__ import annotations

import jax
import numpy as np

from rrl_agents.checkpoints.load_teacher import load_teacher
from rrl_agents.types import Params
from services.learner.config import InitialCheckpoint
from services.shared.errors import UserError, user_errors


def params_of_agent(checkpoint: InitialCheckpoint, like: Params) -> Params:
    """An agent's parameters.

    Args:
        checkpoint: Of the agent.
        like: Parameters of the student's architecture.

    Raises:
        UserError: they cannot be read, or are another architecture's.
    """
    with user_errors((ValueError, OSError)):
        params: Params = load_teacher(
            checkpoint.path, checkpoint.number, checkpoint.game, checkpoint.hints
        ).params
    if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, like):
        raise UserError(
            f"the parameters in {checkpoint.path} are not of the student's architecture: give "
            "the student that agent's network"
        )
    return params
