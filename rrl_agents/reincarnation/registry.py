"""Methods by name: the config that a user fills in, and the recipe built from it.

Other packages declare theirs, each a `Method`, in the entry point group `rrl.methods`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from rrl_agents.plugins import Registry
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


@dataclasses.dataclass(frozen=True)
class Method(Generic[ConfigT]):
    """One entry of the registry.

    Attributes:
        config_class: Frozen dataclass with the method's settings, `q_learning` among them; its
            defaults are the paper's. A `Method` of another package must be in the same module.
        build: Builds the recipe from such a config.
        summary: One line for lists.
    """

    config_class: type[ConfigT]
    build: Callable[[ConfigT], Recipe]
    summary: str


_BUILT_IN: dict[str, Method[Any]] = {
    "qdagger": Method(
        QDaggerConfig,
        qdagger,
        "Distil the teacher offline, then learn online, weaned by the score",
    ),
    "kickstarting": Method(
        KickstartingConfig, kickstarting, "QDagger's loss and weaning without its offline stage"
    ),
    "dagger": Method(
        DaggerConfig, dagger, "Ablation: distillation alone, without Q-learning, and never weaned"
    ),
    "ql_dagger": Method(QlDaggerConfig, ql_dagger, "Ablation: QDagger, never weaned"),
    "dqfd": Method(
        DqfdConfig, dqfd, "Q-learning with a margin by which the teacher's action must lead"
    ),
    "jsrl": Method(
        JsrlConfig, jsrl, "The teacher starts each episode, or shares its steps, less and less"
    ),
    "rehearsal": Method(
        RehearsalConfig,
        rehearsal,
        "Offline pre-training, then a share of the teacher's data in every batch",
    ),
    "offline_pretraining": Method(
        OfflinePretrainingConfig,
        offline_pretraining,
        "Conservative Q-learning on the teacher's data, then plain Q-learning",
    ),
    "fine_tuning": Method(
        FineTuningConfig,
        fine_tuning,
        "Start from the teacher's weights, and from its replay data if there is any",
    ),
    "tabula_rasa": Method(
        TabulaRasaConfig,
        tabula_rasa,
        "Plain Q-learning from random weights: the baseline",
    ),
}

METHODS: Registry[Method[Any]] = Registry("rrl.methods", Method, _BUILT_IN)
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
"""The config of any method of the registry; tyro makes no flags from a Protocol."""


def make_recipe(config: MethodConfig) -> Recipe:
    """Build the recipe of a method's config, named as in `METHODS`.

    Raises:
        TypeError: When it is not a method's config.
    """
    name, method = _method_of(type(config))
    recipe = method.build(config)
    return recipe if recipe.name == name else dataclasses.replace(recipe, name=name)


def _method_of(config_class: type[object]) -> tuple[str, Method[Any]]:
    """The method of a config, and its name."""
    for name, method in METHODS.imported.items():
        if method.config_class is config_class:
            return name, method
    # A process that received the config has imported its module, but not looked up its name.
    for name in METHODS:
        with contextlib.suppress(ValueError):
            if METHODS[name].config_class is config_class:
                return name, METHODS[name]
    module = config_class.__module__
    for attribute, value in vars(sys.modules[module]).items():
        if isinstance(value, Method) and value.config_class is config_class:
            return f"{module}:{attribute}", value
    raise TypeError(f"{config_class.__qualname__} is the config of no method")
