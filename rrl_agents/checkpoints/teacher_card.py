"""What a teacher is: the game it plays, its network, its score, what it cost, whom it came from.

A card travels beside the parameters as `card.json`. It holds the cards of its parents whole, so a
line of agents can be read off its last member alone. Reading is strict: an unknown or missing
field, or one of the wrong type, is an error that names the field.
"""

from __future__ import annotations

import dataclasses
import functools
import re

from rrl_agents.checkpoints.card_facts import (
    Compute,
    EvaluationScore,
    PlayProtocol,
    check_finite,
)
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.typed_json import encode
from rrl_agents.types import Params
from rrl_client.spec import PolicySpec

__all__ = ["Compute", "EvaluationScore", "Parent", "PlayProtocol", "Teacher", "TeacherCard"]

MAX_GENERATIONS = 32
"""Bound of nested parents: a card is read recursively."""

RELATIONS = ("teacher", "data", "initial weights")
"""What an agent may have from a parent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherCard:
    """Everything about a teacher but its parameters.

    Attributes:
        name: Human-readable name.
        game: Game or task it was trained on, e.g. "pong"; "unknown" when not given.
        network: Architecture of its network; None where something else computes, as an ONNX file.
        num_actions: Number of actions A.
        observation_shape: Shape of one observation, e.g. (84, 84, 4).
        observation_dtype: Type of one element, as `PolicySpec`.
        observation_order: How the last axis is to be read.
        action_meanings: Names of the actions in the order of the values; empty when unknown.
        output: What its scores are, as `PolicySpec`.
        temperature: Divides logits before the softmax, above 0; None for Q-values, which each
            method softens as it sees fit.
        algorithm: How it learned, e.g. "QDagger"; "unknown" when not given.
        protocol: Rules of play of its training and score, None when unknown.
        score: Its evaluation, None when it was never scored.
        random_return: Mean return of the uniformly random policy on the game, None when unknown.
        made: How it was trained or where it comes from, in words.
        compute: What its own training cost, None when unknown.
        command: The command that made it; empty when unknown.
        code_version: Version of the code that made it; empty when unknown.
        parents: The agents it was made from.
        parameters_sha256: Hash of the encoded parameters (`params_codec.params_hash`); of an ONNX
            file its own, of a Python policy that of its entry point and version.
    """

    name: str
    game: str
    network: NetworkConfig | None
    num_actions: int
    observation_shape: tuple[int, ...]
    made: str
    parameters_sha256: str
    observation_dtype: str = "uint8"
    observation_order: str = "frame stack, oldest frame first"
    action_meanings: tuple[str, ...] = ()
    output: str = "q_values"
    temperature: float | None = None
    algorithm: str = "unknown"
    protocol: PlayProtocol | None = None
    score: EvaluationScore | None = None
    random_return: float | None = None
    compute: Compute | None = None
    command: str = ""
    code_version: str = ""
    parents: tuple[Parent, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a card that no teacher can have."""
        if not self.name or not self.game:
            raise ValueError(
                "name and game must not be empty; write 'unknown' for a game not known"
            )
        _ = self.spec  # Made now, it refuses what is out of range.
        if not re.fullmatch("[0-9a-f]{64}", self.parameters_sha256):
            raise ValueError(
                f"parameters_sha256 is {self.parameters_sha256!r}; it must be 64 hex digits"
            )
        if self.random_return is not None:
            check_finite("random_return", self.random_return)
        if _generations(self) > MAX_GENERATIONS:
            raise ValueError(f"more than {MAX_GENERATIONS} generations of parents")

    @functools.cached_property
    def spec(self) -> PolicySpec:
        """What it takes and gives."""
        return PolicySpec(
            num_actions=self.num_actions,
            observation_shape=self.observation_shape,
            observation_dtype=self.observation_dtype,
            output=self.output,
            temperature=self.temperature,
            action_meanings=self.action_meanings,
        )

    def to_json(self) -> str:
        """Write the card as indented JSON, with its digest, that `from_json` reads back."""
        return seal(encode(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TeacherCard:
        """Read a card.

        Args:
            text: What `to_json` has written: every field of the card, no other, and the digest.

        Returns:
            The card.

        Raises:
            ValueError: When the text is no JSON object or not as it was written, or a field is
                unknown, missing, of the wrong type or out of range; the message names it.
        """
        return decode_sealed(cls, text, "teacher card")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parent:
    """An agent that another one was made from.

    Attributes:
        relations: What the child has from it, of `RELATIONS`; at least one.
        card: Its card, with its own parents.
    """

    relations: tuple[str, ...]
    card: TeacherCard

    def __post_init__(self) -> None:
        """Refuse relations that mean nothing."""
        if not self.relations or not set(self.relations) <= set(RELATIONS):
            raise ValueError(f"relations are {self.relations}; choose from {RELATIONS}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A teacher ready to be asked.

    Attributes:
        params: Tree of float32 numpy arrays for the module that `make_network` builds.
        card: What it is.
    """

    params: Params
    card: TeacherCard


def _generations(card: TeacherCard) -> int:
    return 1 + max((_generations(parent.card) for parent in card.parents), default=0)
