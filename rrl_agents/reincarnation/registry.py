"""Methods by name: the config a user fills in, and the recipe it becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from rrl_agents.reincarnation.qdagger import QDaggerConfig, qdagger
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig, tabula_rasa

ConfigT = TypeVar("ConfigT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(Generic[ConfigT]):
    """One entry of the registry.

    Attributes:
        config_class: Frozen dataclass with the method's settings; its defaults are the paper's.
        build: Turns such a config into the recipe.
    """

    config_class: type[ConfigT]
    build: Callable[[ConfigT], Recipe]


METHODS: Mapping[str, Method[Any]] = {
    "qdagger": Method(config_class=QDaggerConfig, build=qdagger),
    "tabula_rasa": Method(config_class=TabulaRasaConfig, build=tabula_rasa),
}
"""Name -> method."""

MethodConfig: TypeAlias = QDaggerConfig | TabulaRasaConfig
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
