"""What a teacher is: the game it plays, its network, its score, and how it was made.

A card travels beside the parameters as `card.json`. Scores are undiscounted sums of raw rewards,
the same unit everywhere in the project. Reading is strict: an unknown or missing field, or one of
the wrong type, is an error that names the field.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re

from rrl_agents.checkpoints.json_fields import JsonFields
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.types import Params

OBSERVATION_DTYPES = ("uint8", "float32")
"""Element types an observation may have, as numpy writes them."""

MAX_OBSERVATION_ELEMENTS = 1 << 24
"""Bound of one observation's size: cards come from files, and services allocate by it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationScore:
    """How well a teacher played.

    Attributes:
        mean_return: Mean over the episodes of the undiscounted raw return.
        std_return: Population standard deviation over the same episodes, at least 0.
        episodes: Number of episodes, at least 1.
        epsilon: Probability of a uniformly random action while playing, in [0, 1].
        sticky_actions: Probability that the game repeats the last action, in [0, 1].
        returns: Return of each episode; empty when only the mean is known.
        note: What a reader must know of how the episodes were chosen.
    """

    mean_return: float
    std_return: float
    episodes: int
    epsilon: float
    sticky_actions: float
    returns: tuple[float, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse scores that no evaluation can give."""
        _check_finite("mean_return", self.mean_return)
        _check_finite("std_return", self.std_return)
        if self.std_return < 0:
            raise ValueError(f"std_return is {self.std_return}; it must be at least 0")
        if self.episodes < 1:
            raise ValueError(f"episodes is {self.episodes}; it must be at least 1")
        if self.returns and len(self.returns) != self.episodes:
            raise ValueError(
                f"returns holds {len(self.returns)} numbers for {self.episodes} episodes"
            )
        for field in ("epsilon", "sticky_actions"):
            _check_probability(field, getattr(self, field))
        for value in self.returns:
            _check_finite("returns", value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherCard:
    """Everything about a teacher but its parameters.

    Attributes:
        name: Human-readable name.
        game: Game or task it was trained on, e.g. "pong"; "unknown" when nobody said.
        network: Architecture of its network.
        num_actions: Number of actions A.
        observation_shape: Shape of one observation, e.g. (84, 84, 4).
        observation_dtype: Type of one element, one of `OBSERVATION_DTYPES`.
        observation_order: How the last axis is to be read.
        action_meanings: Names of the actions in the order of the values; empty when unknown.
        score: Its evaluation, None when it was never scored.
        random_return: Mean return of the uniformly random policy on the game, None when unknown.
        made: How it was trained or where it comes from.
        parameters_sha256: Hash of the encoded parameters (`params_codec.params_hash`).
    """

    name: str
    game: str
    network: NetworkConfig
    num_actions: int
    observation_shape: tuple[int, ...]
    made: str
    parameters_sha256: str
    observation_dtype: str = "uint8"
    observation_order: str = "frame stack, oldest frame first"
    action_meanings: tuple[str, ...] = ()
    score: EvaluationScore | None = None
    random_return: float | None = None

    def __post_init__(self) -> None:
        """Refuse a card that no teacher can have."""
        if not self.name or not self.game:
            raise ValueError(
                "name and game must not be empty; write 'unknown' for a game not known"
            )
        if self.num_actions < 1:
            raise ValueError(f"num_actions is {self.num_actions}; it must be at least 1")
        _check_observation_shape(self.observation_shape)
        if self.observation_dtype not in OBSERVATION_DTYPES:
            raise ValueError(
                f"observation_dtype is {self.observation_dtype!r}; choose one of "
                f"{OBSERVATION_DTYPES}"
            )
        if self.action_meanings and len(self.action_meanings) != self.num_actions:
            raise ValueError(
                f"action_meanings names {len(self.action_meanings)} actions, "
                f"num_actions is {self.num_actions}"
            )
        if not re.fullmatch("[0-9a-f]{64}", self.parameters_sha256):
            raise ValueError(
                f"parameters_sha256 is {self.parameters_sha256!r}; it must be 64 hex digits"
            )
        if self.random_return is not None:
            _check_finite("random_return", self.random_return)

    def to_json(self) -> str:
        """Write the card as indented JSON that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TeacherCard:
        """Read a card.

        Args:
            text: A JSON object with every field of the card and no other.

        Returns:
            The card.

        Raises:
            ValueError: When the text is no JSON object, or a field is unknown, missing, of the
                wrong type or out of range; the message names it.
        """
        fields = JsonFields.parse(text, "teacher card")
        card = cls(
            name=fields.text("name"),
            game=fields.text("game"),
            network=_network(fields.child("network")),
            num_actions=fields.whole("num_actions"),
            observation_shape=fields.wholes("observation_shape"),
            observation_dtype=fields.text("observation_dtype"),
            observation_order=fields.text("observation_order"),
            action_meanings=fields.texts("action_meanings"),
            score=None if fields.is_null("score") else _score(fields.child("score")),
            random_return=(
                None if fields.is_null("random_return") else fields.number("random_return")
            ),
            made=fields.text("made"),
            parameters_sha256=fields.text("parameters_sha256"),
        )
        fields.finish()
        return card


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A teacher ready to be asked.

    Attributes:
        params: Tree of float32 numpy arrays for the module that `make_network` builds.
        card: What it is.
    """

    params: Params
    card: TeacherCard


def _network(fields: JsonFields) -> NetworkConfig:
    config = NetworkConfig(
        name=fields.text("name"),
        features=fields.wholes("features"),
        hidden_units=fields.whole("hidden_units"),
        padding=fields.text("padding"),
    )
    fields.finish()
    return config


def _score(fields: JsonFields) -> EvaluationScore:
    score = EvaluationScore(
        mean_return=fields.number("mean_return"),
        std_return=fields.number("std_return"),
        episodes=fields.whole("episodes"),
        epsilon=fields.number("epsilon"),
        sticky_actions=fields.number("sticky_actions"),
        returns=fields.numbers("returns"),
        note=fields.text("note"),
    )
    fields.finish()
    return score


def _check_observation_shape(shape: tuple[int, ...]) -> None:
    if not shape or min(shape) < 1 or math.prod(shape) > MAX_OBSERVATION_ELEMENTS:
        raise ValueError(
            f"observation_shape is {shape}; need sizes of at least 1 and at most "
            f"{MAX_OBSERVATION_ELEMENTS} elements"
        )


def _check_finite(field: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{field} is {value}; it must be finite")


def _check_probability(field: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{field} is {value}; it must lie in [0, 1]")
