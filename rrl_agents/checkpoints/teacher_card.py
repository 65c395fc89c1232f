"""The card of a teacher: its game, network, score, cost and parents.

A card is stored beside the parameters as `card.json`. It contains the full cards of its parents, so
the last agent of a line is enough to know all. Reading is strict: an unknown or missing field, or
one of the wrong type, is an error that names the field.

Scores are undiscounted sums of raw rewards, the same unit everywhere in the project.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.ranges import check_range, check_ranges
from rrl_agents.typed_json import encode
from rrl_agents.types import Params
from rrl_client.spec import PolicySpec

CARD_FILE = "card.json"
README_FILE = "README.md"
PARAMS_FILE = "params.safetensors"
ONNX_SUFFIX = ".onnx"
ONNX_POLICY_FILE = f"policy{ONNX_SUFFIX}"
POLICY_FILES = (PARAMS_FILE, ONNX_POLICY_FILE)
"""Policy files, one of which a teacher's directory has beside its card."""

MAX_CARD_BYTES = 1 << 20
"""Bound of a card's size; real ones have about 2 kB."""

MAX_COUNT = 10**18
"""Bound of the counts of a card, which is untrusted."""

MAX_GENERATIONS = 32
"""Bound of nested parents, because cards are read recursively."""

RELATIONS = ("teacher", "data", "initial weights", "member")
"""What an agent can take from a parent; an ensemble's members are its parents."""

UNKNOWN_GAME = "unknown"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationScore:
    """The evaluation of a teacher.

    Attributes:
        mean_return: Mean over the episodes of the undiscounted raw return.
        std_return: Population standard deviation over the same episodes, at least 0.
        episodes: Number of episodes, at least 1.
        epsilon: Probability of a uniformly random action while playing, in [0, 1].
        sticky_actions: Probability that the game repeats the last action, in [0, 1].
        interval: 95% confidence interval of the mean (low, high); None when it was not computed.
        returns: Return of each episode; empty when only the mean is known.
        note: Notes on how the episodes were chosen.
    """

    mean_return: float
    std_return: float
    episodes: int
    epsilon: float
    sticky_actions: float
    interval: tuple[float, float] | None = None
    returns: tuple[float, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse impossible scores."""
        check_ranges(self, "mean_return")
        check_ranges(self, "std_return", least=0)
        check_ranges(self, "episodes", least=1)
        check_ranges(self, "epsilon", "sticky_actions", least=0, most=1)
        for one in (*self.returns, *(self.interval or ())):
            check_range("one of returns or interval", one)
        if self.returns and len(self.returns) != self.episodes:
            raise ValueError(
                f"returns holds {len(self.returns)} numbers for {self.episodes} episodes"
            )
        if self.interval and self.interval[0] > self.interval[1]:
            raise ValueError(f"interval is {self.interval}; give its lower end first")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlayProtocol:
    """The rules of play; scores under different rules are not comparable.

    Attributes:
        frames_per_step: Emulator frames that one decision lasts, at least 1.
        stack_size: Frames in one observation, at least 1.
        max_episode_steps: Decisions after which an episode is cut off, at least 1.
        sticky_actions: Probability that the game repeats the last action, in [0, 1].
        reward_clipping: Whether training saw rewards clipped to [-1, 1]; scores are never clipped.
        life_loss_ends: Whether training treated a lost life as the end of an episode.
    """

    frames_per_step: int
    stack_size: int
    max_episode_steps: int
    sticky_actions: float
    reward_clipping: bool = True
    life_loss_ends: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible rules."""
        check_ranges(
            self, "frames_per_step", "stack_size", "max_episode_steps", least=1, most=MAX_COUNT
        )
        check_ranges(self, "sticky_actions", least=0, most=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute:
    """The cost of one generation, without its ancestors; None where unknown.

    Attributes:
        environment_frames: Emulator frames that the agent itself played to learn.
        teacher_frames: Emulator frames that its teacher played for it. Recorded data is not counted
            here, because it counts for its recorder.
        gradient_updates: Gradient steps.
        hardware_seconds: Wall-clock seconds on the hardware named.
        hardware: The hardware in words; empty when unknown.
    """

    environment_frames: int | None = None
    teacher_frames: int | None = None
    gradient_updates: int | None = None
    hardware_seconds: float | None = None
    hardware: str = ""

    def __post_init__(self) -> None:
        """Refuse negative and implausible costs."""
        counts = ("environment_frames", "teacher_frames", "gradient_updates", "hardware_seconds")
        check_ranges(self, *counts, least=0, most=MAX_COUNT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherCard:
    """Everything about a teacher except its parameters.

    Attributes:
        name: Human-readable name.
        game: Game or task it was trained on, e.g. "pong"; "unknown" when not given.
        network: Architecture of its network; None if it is not one of ours, e.g. an ONNX file.
        num_actions: Number of actions A.
        observation_shape: Shape of one observation, e.g. (84, 84, 4).
        observation_dtype: Type of one element, as `PolicySpec`.
        observation_order: Meaning of the last axis.
        action_meanings: Names of the actions in the order of the values; empty when unknown.
        output: Kind of its scores, as in `PolicySpec`.
        temperature: Divides logits before the softmax, above 0; None for Q-values, for which each
            method has its own temperature.
        algorithm: The algorithm that trained it, e.g. "QDagger"; "unknown" when not given.
        protocol: Rules of play in its training and score; None when unknown.
        score: Its evaluation, None when it was never scored.
        random_return: Mean return of the uniformly random policy on the game, None when unknown.
        made: Its training or origin, in words.
        compute: Cost of its own training; None when unknown.
        command: The command that made it; empty when unknown.
        code_version: Version of the code that made it; empty when unknown.
        parents: The agents it learned from.
        parameters_sha256: Hash of the encoded parameters (`params_codec.params_hash`); for an ONNX
            file, the file's hash; for a Python policy, that of its entry point and version.
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
        """Refuse an impossible card."""
        if not self.name or not self.game:
            raise ValueError(
                "name and game must not be empty; write 'unknown' for a game not known"
            )
        _ = self.spec  # Created to check the ranges.
        if not re.fullmatch("[0-9a-f]{64}", self.parameters_sha256):
            raise ValueError(
                f"parameters_sha256 is {self.parameters_sha256!r}; it must be 64 hex digits"
            )
        check_ranges(self, "random_return")
        if _generations(self) > MAX_GENERATIONS:
            raise ValueError(f"more than {MAX_GENERATIONS} generations of parents")

    @functools.cached_property
    def spec(self) -> PolicySpec:
        """Its inputs and outputs."""
        return PolicySpec(
            num_actions=self.num_actions,
            observation_shape=self.observation_shape,
            observation_dtype=self.observation_dtype,
            output=self.output,
            temperature=self.temperature,
            action_meanings=self.action_meanings,
        )

    def to_json(self) -> str:
        """Write the card as indented JSON with a digest, for `from_json`."""
        return seal(encode(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TeacherCard:
        """Read a card.

        Args:
            text: Text from `to_json`: exactly the card's fields, and the digest.

        Returns:
            The card.

        Raises:
            ValueError: When the text is not a JSON object or has changed since it was written, or a
                field is unknown, missing, of the wrong type or out of range; the message names it.
        """
        return decode_sealed(cls, text, "teacher card")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parent:
    """An agent that another one learned from.

    Attributes:
        relations: What the child took from it, keys of `RELATIONS`; at least one.
        card: Its card, with its own parents.
    """

    relations: tuple[str, ...]
    card: TeacherCard

    def __post_init__(self) -> None:
        """Refuse invalid relations."""
        if not self.relations or not set(self.relations) <= set(RELATIONS):
            raise ValueError(f"relations are {self.relations}; choose from {RELATIONS}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A teacher: parameters and card.

    Attributes:
        params: Tree of float32 numpy arrays for the module that `make_network` builds.
        card: Its card.
    """

    params: Params
    card: TeacherCard


def is_teacher_directory(path: Path) -> bool:
    """Whether a folder holds a teacher, one of our networks or an ONNX model, complete or not."""
    return any((path / file).is_file() for file in (CARD_FILE, *POLICY_FILES))


def read_card(path: Path) -> TeacherCard:
    """Read a card, without checking it against the parameters.

    Args:
        path: The `card.json`.

    Returns:
        The card.

    Raises:
        ValueError: When it cannot be read, is too large, or is not a card; the message has the
            path.
    """
    text = read_bounded(path, MAX_CARD_BYTES, what="a teacher's card")
    try:
        return TeacherCard.from_json(text.decode())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _generations(card: TeacherCard) -> int:
    return 1 + max((_generations(parent.card) for parent in card.parents), default=0)
