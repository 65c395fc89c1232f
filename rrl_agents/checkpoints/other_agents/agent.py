"""An agent of another library, as its reader has found it, and the teacher that it becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes, unflatten_params
from rrl_agents.checkpoints.teacher_card import UNKNOWN_GAME, Compute, Teacher, TeacherCard
from rrl_agents.checkpoints.teacher_directory import check_params
from rrl_agents.networks.config import NetworkConfig
from rrl_client.spec import DEFAULT_TEMPERATURE, Output

Numbers: TypeAlias = NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A network of ours with its weights.

    Attributes:
        config: The architecture.
        leaves: Flat name of ours -> array of floating-point numbers.
        num_actions: Actions A.
        observation_shape: Of one observation.
    """

    config: NetworkConfig
    leaves: Mapping[str, Numbers]
    num_actions: int
    observation_shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherAgent:
    """What the files of another library say of an agent.

    Attributes:
        network: What acts.
        observation_dtype: Type of one element of an observation, as `PolicySpec`.
        output: What its scores are.
        algorithm: How it learned, e.g. "PPO"; "unknown" when the files do not say.
        library: What wrote the files, for people, with its version where they say it.
        game: What it plays; None when the files do not say.
        steps: Decisions that it has learned from, None when the files do not say.
    """

    network: Network
    observation_dtype: str
    output: Output
    algorithm: str
    library: str
    game: str | None = None
    steps: int | None = None

    def as_teacher(self, name: str) -> Teacher:
        """Make a teacher of it.

        Args:
            name: What it is called, for people.

        Raises:
            ValueError: Its weights fit no network of ours, or are not finite.
        """
        network = self.network
        # What is too large for float32 becomes infinite, and is refused so.
        with np.errstate(over="ignore"):
            leaves = {
                leaf: np.array(array, np.float32, order="C")
                for leaf, array in network.leaves.items()
            }
        params = unflatten_params(leaves)
        is_vector = len(network.observation_shape) == 1
        steps = "" if self.steps is None else f", after {self.steps} training steps"
        card = TeacherCard(
            name=name,
            game=self.game or UNKNOWN_GAME,
            network=network.config,
            num_actions=network.num_actions,
            observation_shape=network.observation_shape,
            observation_dtype=self.observation_dtype,
            observation_order="one vector" if is_vector else "frame stack, oldest frame first",
            output=self.output,
            temperature=DEFAULT_TEMPERATURE if self.output == "logits" else None,
            algorithm=self.algorithm,
            made=f"imported from a model that {self.library} saved{steps}",
            # How many frames a decision of an image's game lasted is not known.
            compute=Compute(environment_frames=self.steps if is_vector else None),
            parameters_sha256=params_hash(params_to_bytes(params)),
        )
        check_params(params, card)
        return Teacher(params=params, card=card)
