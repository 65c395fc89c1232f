"""What a look at prior work finds: its kind, its layers, and what is wrong with it.

Files may be hostile: names out of them are cut and escaped before they become part of a finding.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.networks.registry import NetworkConfig

MAX_LAYERS = 500
"""Bound of the layers that are listed; agents have 10 to 20."""

_MAX_DEPTH = 16
_MAX_NODES = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """One array of parameters.

    Attributes:
        name: Its place, e.g. "Conv_0/kernel".
        shape: Its shape, () for a scalar.
        dtype: Type of its elements.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListedCheckpoint:
    """One of an agent's checkpoints.

    Attributes:
        number: Dopamine's iteration.
        is_complete: Whether it can be taken without being named.
        lacks: What is missing of it; empty for a complete one.
    """

    number: int
    is_complete: bool
    lacks: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayFacts:
    """A saved replay buffer.

    Attributes:
        number: Dopamine's iteration.
        rows: Steps that were recorded.
        frame_shape: [H, W] of one frame.
        stack_size: Frames of one observation.
        transitions: One-step transitions in it.
    """

    number: int
    rows: int
    frame_shape: tuple[int, int]
    stack_size: int
    transitions: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection:
    """All that was found; None and empty where the files do not say.

    Attributes:
        path: What was looked at.
        format: What it is, in words.
        details: How its format differs from others of its kind, e.g. the generation of libraries.
        game: What it plays.
        agent: Algorithm, e.g. "dqn".
        network: Architecture.
        num_actions: Number of actions.
        training_steps: Decisions that were trained on.
        checkpoint_number: Which checkpoint the rest is about.
        layers: Arrays of its online network, at most `MAX_LAYERS`.
        num_parameters: Numbers in all of them.
        checkpoints: All that lie there.
        replay: The buffer saved with it.
        card: Its card.
        notes: Else worth knowing.
        problems: What is wrong with it.
    """

    path: str
    format: str
    details: tuple[str, ...] = ()
    game: str | None = None
    agent: str | None = None
    network: NetworkConfig | None = None
    num_actions: int | None = None
    training_steps: int | None = None
    checkpoint_number: int | None = None
    layers: tuple[Layer, ...] = ()
    num_parameters: int = 0
    checkpoints: tuple[ListedCheckpoint, ...] = ()
    replay: ReplayFacts | None = None
    card: TeacherCard | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def shown(text: object, max_characters: int = 120) -> str:
    """A text out of a file, fit for one line of a terminal."""
    line = str(text)[:max_characters]
    return line if line.isprintable() else ascii(line)


def layers_of(tree: Any) -> tuple[Layer, ...]:
    """Every array of a tree, also of one that no network has.

    Args:
        tree: Nested mappings with arrays at the leaves, of any origin.

    Returns:
        The arrays in the tree's order; other leaves are listed with their type and no shape. What
        nests deeper, or has more branches, than a network does is left out.
    """
    found: list[Layer] = []
    # A branch may be shared by many others: a small pickle can hold a tree without end.
    waiting: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    for _ in range(_MAX_NODES):
        if not waiting:
            break
        path, node = waiting.pop()
        if not isinstance(node, Mapping):
            found.append(_layer(path, node))
        elif len(path) < _MAX_DEPTH:
            children = itertools.islice(node.items(), _MAX_NODES)
            waiting += reversed([((*path, shown(key)), child) for key, child in children])
    return tuple(found)


def _layer(path: tuple[str, ...], leaf: Any) -> Layer:
    dtype = str(leaf.dtype) if hasattr(leaf, "dtype") else type(leaf).__name__
    shape = tuple(map(int, getattr(leaf, "shape", ())))
    return Layer(name="/".join(path), shape=shape, dtype=shown(dtype))
