"""Methods by name: the config a user fills in, and the recipe it becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from rrl_agents.reincarnation.dqfd import DqfdConfig, dqfd
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig, fine_tuning
from rrl_agents.reincarnation.jsrl import JsrlConfig, jsrl
from rrl_agents.reincarnation.offline_pretraining import (
    OfflinePretrainingConfig,
    RehearsalConfig,
    offline_pretraining,
    rehearsal,
)
from rrl_agents.reincarnation.qdagger import (
    DaggerConfig,
    KickstartingConfig,
    QDaggerConfig,
    QlDaggerConfig,
    dagger,
    kickstarting,
    qdagger,
    ql_dagger,
)
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig, tabula_rasa

ConfigT = TypeVar("ConfigT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(Generic[ConfigT]):
    """One entry of the registry.

    Attributes:
        config_class: Frozen dataclass with the method's settings; its defaults are the paper's.
        build: Turns such a config into the recipe.
        summary: One line for those who choose.
    """

    config_class: type[ConfigT]
    build: Callable[[ConfigT], Recipe]
    summary: str


METHODS: dict[str, Method[Any]] = {
    "qdagger": Method(
        config_class=QDaggerConfig,
        build=qdagger,
        summary="Distil the teacher offline, then learn online and be weaned by the score",
    ),
    "kickstarting": Method(
        config_class=KickstartingConfig,
        build=kickstarting,
        summary="QDagger's loss and weaning without its offline stage",
    ),
    "dagger": Method(
        config_class=DaggerConfig,
        build=dagger,
        summary="Ablation: distillation alone, without Q-learning, and never weaned",
    ),
    "ql_dagger": Method(
        config_class=QlDaggerConfig,
        build=ql_dagger,
        summary="Ablation: QDagger that is never weaned",
    ),
    "dqfd": Method(
        config_class=DqfdConfig,
        build=dqfd,
        summary="Q-learning with a margin by which the teacher's action must lead",
    ),
    "jsrl": Method(
        config_class=JsrlConfig,
        build=jsrl,
        summary="The teacher begins each episode, or shares its steps, less and less",
    ),
    "rehearsal": Method(
        config_class=RehearsalConfig,
        build=rehearsal,
        summary="Offline pre-training, then a share of the teacher's data in every batch",
    ),
    "offline_pretraining": Method(
        config_class=OfflinePretrainingConfig,
        build=offline_pretraining,
        summary="Conservative Q-learning on the teacher's data, then plain Q-learning",
    ),
    "fine_tuning": Method(
        config_class=FineTuningConfig,
        build=fine_tuning,
        summary="Go on from the teacher's own weights, and its replay data if there is any",
    ),
    "tabula_rasa": Method(
        config_class=TabulaRasaConfig,
        build=tabula_rasa,
        summary="Plain Q-learning from random weights: what the others are compared with",
    ),
}
"""Name -> method."""

MethodConfig: TypeAlias = (
    QDaggerConfig
    | KickstartingConfig
    | DaggerConfig
    | QlDaggerConfig
    | DqfdConfig
    | JsrlConfig
    | RehearsalConfig
    | OfflinePretrainingConfig
    | FineTuningConfig
    | TabulaRasaConfig
)
"""The config of any method of the registry."""


def make_recipe(config: MethodConfig) -> Recipe:
    """Build the recipe a method's config stands for.

    Raises:
        ValueError: When the config is that of no registered method.
    """
    for method in METHODS.values():
        if type(config) is method.config_class:
            return method.build(config)
    known = sorted(method.config_class.__name__ for method in METHODS.values())
    raise ValueError(f"{type(config).__name__} sets up no method; use one of {known}")
