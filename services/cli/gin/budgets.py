"""How long the stages of the released code's runs are: iterations times steps."""

from __future__ import annotations

import dataclasses

from services.cli.gin.agents import Agent
from services.cli.gin.values import Values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What both stages cost.

    Attributes:
        offline_updates: Gradient steps of the offline stage.
        offline_iteration_updates: Gradient steps between two evaluations there.
        online_steps: Agent steps of the online stage.
        iteration_steps: Agent steps between two evaluations there.
    """

    offline_updates: int
    offline_iteration_updates: int
    online_steps: int
    iteration_steps: int


def budget(values: Values, agent: Agent) -> Budget:
    """Iterations times steps, of both stages."""
    iteration_steps = values.whole("Runner.training_steps")
    offline = "RunnerWithTeacher.num_pretraining_iterations"
    if agent.pretrains:
        iterations = values.whole(offline)
        offline_steps = values.whole("RunnerWithTeacher.num_pretraining_steps")
    else:
        if values.is_bound(offline) and values.whole(offline) != 0:
            raise values.refuse(offline, f"--agent {agent.name} has no offline stage; give 0")
        iterations, offline_steps = 0, 0
    return Budget(
        offline_updates=iterations * offline_steps,
        offline_iteration_updates=offline_steps,
        online_steps=values.whole("Runner.num_iterations") * iteration_steps,
        iteration_steps=iteration_steps,
    )
