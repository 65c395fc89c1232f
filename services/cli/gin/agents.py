"""The agents that the released code's `--agent` knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from services.launcher.settings import nearest
from services.shared.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agent:
    """One agent.

    Attributes:
        name: Of `--agent`, in the present generation.
        is_rainbow: Whether it is built on Dopamine's Rainbow instead of its DQN.
        pretrains: Whether it has an offline stage.
    """

    name: str
    is_rainbow: bool = False
    pretrains: bool = True

    @property
    def base_class(self) -> str:
        """The class that its network belongs to."""
        return "ReincarnationRainbowAgent" if self.is_rainbow else "ReincarnationDQNAgent"

    @property
    def own_class(self) -> str:
        """The class that its method's settings belong to."""
        return _OWN_CLASSES[self.name]

    @property
    def augmenting_class(self) -> str:
        """The class whose `data_augmentation` counts."""
        return self.own_class if self.name == "reloaded_dqn" else self.base_class

    @property
    def replay_buffer(self) -> str:
        """The class that its replay's size belongs to."""
        return "OutOfGraphPrioritizedReplayBuffer" if self.is_rainbow else "OutOfGraphReplayBuffer"


_OWN_CLASSES: Mapping[str, str] = {
    "qdagger_dqn": "QDaggerDQNAgent",
    "qdagger_rainbow": "QDaggerRainbowAgent",
    "dqfd_dqn": "DQfDAgent",
    "pretrained_dqn": "PretrainedDQNAgent",
    "jsrl_dqn": "JSRLAgent",
    "reloaded_dqn": "ReloadedDQNAgent",
}

AGENTS: Mapping[str, Agent] = {
    name: Agent(
        name=name,
        is_rainbow=name == "qdagger_rainbow",
        pretrains=name not in ("jsrl_dqn", "reloaded_dqn"),
    )
    for name in _OWN_CLASSES
}
"""Name -> agent."""

_OLDER_AGENTS: Mapping[str, str] = {
    "distillation_dqn": "qdagger_dqn",
    "distillation_rainbow": "qdagger_rainbow",
    "margin_dqn": "dqfd_dqn",
    "lols_dqn": "jsrl_dqn",
}


def agent_of(name: str) -> Agent:
    """The agent of a name, of either generation.

    Raises:
        UserError: the released code has no such agent.
    """
    present = _OLDER_AGENTS.get(name, name)
    if present in AGENTS:
        return AGENTS[present]
    like = nearest(name, AGENTS)
    near = f" (did you mean {' or '.join(like)}?)" if like else ""
    raise UserError(
        f"--agent {name!r} is none of the released code's{near}: {', '.join(AGENTS)}. Kickstarting "
        "is qdagger_dqn with kickstarting_dqn.gin, DrQ is qdagger_rainbow with qdagger_drq.gin"
    )
