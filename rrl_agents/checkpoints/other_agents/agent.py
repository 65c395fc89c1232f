"""An agent of another library, as read from its files, and its conversion to a teacher."""

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
    """One of our networks with its weights.

    Attributes:
        config: The architecture.
        leaves: Our flat name -> array of floating-point numbers.
        num_actions: Actions A.
        observation_shape: Shape of one observation.
    """

    config: NetworkConfig
    leaves: Mapping[str, Numbers]
    num_actions: int
    observation_shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherAgent:
    """An agent in the files of another library.

    Attributes:
        network: The acting network.
        observation_dtype: Type of one element of an observation, as in `PolicySpec`.
        output: Kind of its scores.
        algorithm: The algorithm that trained it, e.g. "PPO"; "unknown" if not in the files.
        library: The library that wrote the files, readable, with its version if known.
        game: The game it plays; None if not in the files.
        steps: Decisions that it was trained on; None if not in the files.
    """

    network: Network
    observation_dtype: str
    output: Output
    algorithm: str
    library: str
    game: str | None = None
    steps: int | None = None

    def as_teacher(self, name: str) -> Teacher:
        """Convert it to a teacher.

        Args:
            name: Readable name.

        Raises:
            ValueError: Its weights do not fit our network, or are not finite.
        """
        network = self.network
        # Numbers too large for float32 become infinite, which is refused later.
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
            # For games with images, the number of frames per decision is unknown.
            compute=Compute(environment_frames=self.steps if is_vector else None),
            parameters_sha256=params_hash(params_to_bytes(params)),
        )
        check_params(params, card)
        return Teacher(params=params, card=card)
