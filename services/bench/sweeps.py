"""Sweeps: expand an entry of a suite over a grid of settings, one entry per point.

    [entries.qdagger]
    method = "qdagger"
    student = "minatar_dqn"
    sweep = { "method.distillation.temperature" = [0.02, 0.1, 0.5] }

makes qdagger-temperature-0.02, qdagger-temperature-0.1 and qdagger-temperature-0.5. Several
settings form a grid: every value of one with every value of the others.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from rrl_agents.environments.game_names import folder_name

MAX_POINTS = 1_000
"""Most points of one sweep."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """An expanded sweep.

    Attributes:
        entry: The entry's name in the file.
        label: The entry's label in tables and figures.
        settings: Dotted names of the settings, in the order of the file.
        points: Name of each resulting entry -> the values of the settings.
    """

    entry: str
    label: str
    settings: tuple[str, ...]
    points: Mapping[str, tuple[object, ...]]


def grid(sweep: Mapping[str, object]) -> list[tuple[object, ...]]:
    """Every combination of values; the last setting changes fastest.

    Args:
        sweep: Dotted name -> list of values.

    Raises:
        ValueError: the values of a setting are not a list, are empty, or have duplicates; or there
            are too many points.
    """
    for setting, values in sweep.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"sweep has {setting} = {values!r}; give a list of its values")
        shown = [in_words(value) for value in values]
        if len({*shown}) != len(shown):
            raise ValueError(
                f"sweep has duplicate values of {setting}: {', '.join(shown)}; give each only once"
            )
    axes = [values for values in sweep.values() if isinstance(values, list)]
    if (points := math.prod(map(len, axes))) > MAX_POINTS:
        raise ValueError(f"sweep has {points:,} points; give at most {MAX_POINTS:,}")
    return [*itertools.product(*axes)]


def point_name(entry: str, settings: Sequence[str], values: Sequence[object]) -> str:
    """Name of a point's entry; it becomes a folder."""
    pairs = zip(settings, values, strict=True)
    return "-".join(
        (entry, *(f"{last_part(name)}-{folder_name(in_words(value))}" for name, value in pairs))
    )


def point_label(label: str, settings: Sequence[str], values: Sequence[object]) -> str:
    """Label of a point's entry in tables and figures."""
    return ", ".join((label, *point_words(settings, values)))


def point_words(settings: Sequence[str], values: Sequence[object]) -> list[str]:
    """Each setting with its value, e.g. "temperature 0.1"."""
    pairs = zip(settings, values, strict=True)
    return [f"{last_part(name).replace('_', ' ')} {in_words(value)}" for name, value in pairs]


def last_part(setting: str) -> str:
    """The last part of a setting's name: "temperature" of "method.distillation.temperature"."""
    return setting.rpartition(".")[2]


def in_words(value: object) -> str:
    """A value as text; different values have different texts."""
    if isinstance(value, list):
        return "x".join(map(in_words, value))
    return str(value)


def is_number(value: object) -> bool:
    """Whether a value is a number, which booleans are not."""
    return type(value) in (int, float) and math.isfinite(float(str(value)))
