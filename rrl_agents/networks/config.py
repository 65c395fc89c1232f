"""What an action-value network is made of: settings that a run or a teacher's card writes down.

A card comes from anywhere, and its numbers size memory: each has an upper bound here.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from rrl_agents.networks.torsos import NETWORKS
from rrl_agents.ranges import check_range, check_ranges
from rrl_agents.typed_json import may_be_missing

Padding = Literal["SAME", "VALID"]
ComputeType = Literal["float32", "bfloat16"]
"""What the layers of a student may compute in while it learns; no card says it."""

Head = Literal["values", "categorical", "quantile", "implicit_quantile"]
HEADS: tuple[Head, ...] = get_args(Head)
"""What a network may estimate of the return: its mean, or its distribution in one of three ways."""

MAX_UNITS = 65_536
"""Upper bound of one layer's width."""

MAX_LAYERS = 16
"""Upper bound of how many layers `features` names."""

MAX_WIDTH = 64
"""Upper bound of the factor on channels of "impala_cnn"."""

MAX_ATOMS = 1_024
"""Upper bound of the atoms of one action's distribution, and of IQN's cosine features."""

MAX_INPUTS = 4_096
"""Upper bound of the elements of a vector that bounds are given for."""

MAX_VALUE_BOUND = 1e6
"""Upper bound of the largest return on a categorical support."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture of an action-value network.

    Attributes:
        name: One of `torsos.NETWORKS`, or package:attribute of a `Torso`.
        features: Channels of the three convolutions of "nature_cnn"; of the residual stacks of
            "impala_cnn", (16, 32, 32) in its paper; of the convolutions of "small_cnn"; units of
            the hidden layers of "mlp". All but "nature_cnn" have any number of them.
        hidden_units: Units of the layer after the convolutions; "mlp" has none and ignores it.
        padding: "SAME" (Dopamine's) or "VALID" (Mnih et al., 2015) of "nature_cnn"; "impala_cnn" is
            always "SAME", "small_cnn" always "VALID".
        head: One of `HEADS`: "values" (DQN), "categorical" (C51, Rainbow), "quantile" (QR-DQN) or
            "implicit_quantile" (IQN).
        num_atoms: Atoms N of each action's return distribution: 51 in C51, 200 in QR-DQN; for
            "implicit_quantile" how many quantiles the action values are averaged over, 32 in
            Dopamine. "values" ignores it.
        value_bound: Largest return on the support of "categorical", which is
            linspace(-value_bound, value_bound, num_atoms), in units of the rewards trained on;
            ignored elsewhere.
        dueling: Whether the hidden layer feeds an advantage per action and one value, instead of a
            value per action (Wang et al., 2016).
        noisy: Whether the layers after the convolutions have noisy weights (Fortunato et al., 2018)
            instead of plain ones.
        quantile_embedding_dim: Cosine features of a quantile level that "implicit_quantile" has, 64
            in Dopamine; ignored elsewhere.
        width: Factor on the channels of "impala_cnn"; 1 of all others.
        input_low: Of "mlp" on vectors, the value of each element that becomes -1 before the first
            layer, as in Dopamine's classic control; empty for vectors taken as they are.
        input_high: The same for +1.
        activation: Function behind each hidden layer of "mlp": "relu", or "tanh" as in the policies
            of PPO in Stable-Baselines3 and CleanRL; "relu" of all others.
        pool_padding: Border of the max pooling of "impala_cnn": "SAME" as TensorFlow and JAX have
            it, or "SYMMETRIC", one pixel on each side as in PyTorch; ignored elsewhere.
        kernel_init: Initial weights of plain layers: "dopamine" for those of Dopamine's network of
            that name and head, or "xavier_uniform" for every head. Dopamine has two networks for a
            plain categorical head: C51's starts smaller, that of the full Rainbow does not.
    """

    name: str = "nature_cnn"
    features: tuple[int, ...] = (32, 64, 64)
    hidden_units: int = 512
    padding: Padding = "SAME"
    head: Head = "values"
    num_atoms: int = 51
    value_bound: float = 10.0
    dueling: bool = False
    noisy: bool = False
    quantile_embedding_dim: int = 64
    # Cards were written without these before there were any; a frozen policy draws no weights.
    width: int = may_be_missing(1)
    input_low: tuple[float, ...] = may_be_missing(())
    input_high: tuple[float, ...] = may_be_missing(())
    activation: Literal["relu", "tanh"] = may_be_missing("relu")
    pool_padding: Literal["SAME", "SYMMETRIC"] = may_be_missing("SAME")
    kernel_init: Literal["dopamine", "xavier_uniform"] = may_be_missing("dopamine")

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        if self.name not in NETWORKS:
            raise ValueError(
                f"network {self.name!r} is unknown; choose one of {sorted(NETWORKS)}, or install "
                "the package that declares it"
            )
        torso = NETWORKS[self.name]
        layers = torso.num_features
        check_range(
            f"the number of layers in features of {self.name}",
            len(self.features),
            least=(0 if torso.is_perceptron else 1) if layers is None else layers,
            most=MAX_LAYERS if layers is None else layers,
        )
        for units in (*self.features, self.hidden_units):
            check_range("features or hidden_units", units, least=1, most=MAX_UNITS)
        check_ranges(self, "num_atoms", "quantile_embedding_dim", least=1, most=MAX_ATOMS)
        check_range(
            f"width of {self.name}", self.width, least=1, most=MAX_WIDTH if torso.has_width else 1
        )
        check_ranges(self, "value_bound", above=0, most=MAX_VALUE_BOUND)
        if self.activation != "relu" and not torso.is_perceptron:
            raise ValueError(f"activation of {self.name} is {self.activation!r}; it must be 'relu'")
        self._check_inputs(torso.is_perceptron)

    def _check_inputs(self, is_perceptron: bool) -> None:
        low, high = self.input_low, self.input_high
        if len(low) != len(high) or len(low) > MAX_INPUTS or (low and not is_perceptron):
            raise ValueError(
                f"{self.name} has {len(low)} numbers in input_low, {len(high)} in input_high; give "
                f"a perceptron one of each for every element of a vector, at most {MAX_INPUTS}, "
                "and other networks none"
            )
        for least, most in zip(low, high, strict=True):
            check_range("input_low", least, below=most)
            check_range("input_high", most)

    @property
    def dense_units(self) -> tuple[int, ...]:
        """Units of each hidden linear layer, first to last."""
        is_perceptron = NETWORKS[self.name].is_perceptron
        return self.features if is_perceptron else (self.hidden_units,)

    @property
    def atoms_per_action(self) -> int:
        """Outputs of the last layer for one action."""
        return self.num_atoms if self.head in ("categorical", "quantile") else 1
