"""The architecture of an action-value network, as stored in a run's config or a teacher's card.

Cards are untrusted and their numbers determine memory use, so each has an upper bound here.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from rrl_agents.networks.torsos import NETWORKS
from rrl_agents.ranges import check_range, check_ranges
from rrl_agents.typed_json import may_be_missing

Padding = Literal["SAME", "VALID"]
ComputeType = Literal["float32", "bfloat16"]
"""Types that a student's layers can compute in while it learns; not part of a card."""

Head = Literal["values", "categorical", "quantile", "implicit_quantile"]
HEADS: tuple[Head, ...] = get_args(Head)
"""What a network estimates: the mean return, or its distribution in one of three forms."""

MAX_UNITS = 65_536
"""Upper bound of one layer's width."""

MAX_LAYERS = 16
"""Upper bound of the number of layers in `features`."""

MAX_WIDTH = 64
"""Upper bound of the factor on channels of "impala_cnn"."""

MAX_ATOMS = 1_024
"""Upper bound of the atoms of one action's distribution, and of IQN's cosine features."""

MAX_INPUTS = 4_096
"""Upper bound of the elements of a vector with input bounds."""

MAX_VALUE_BOUND = 1e6
"""Upper bound of the largest return on a categorical support."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture of an action-value network.

    Attributes:
        name: "nature_cnn", "impala_cnn", "small_cnn", "mlp" (`rrl list networks`), or
            package:attribute of a `Torso`.
        features: Channels of each layer: of the three convolutions of "nature_cnn", the residual
            stacks of "impala_cnn" (16, 32, 32 in its paper) or the convolutions of "small_cnn". Of
            the hidden layers of "mlp", the units. All but "nature_cnn" accept any number of layers.
        hidden_units: Units of the layer after the convolutions; ignored by "mlp".
        padding: Padding of "nature_cnn": "SAME" (Dopamine) or "VALID" (Mnih et al., 2015). Ignored
            by other networks: "impala_cnn" always uses "SAME", "small_cnn" always "VALID".
        head: Form of the output: "values" (DQN), "categorical" (C51, Rainbow), "quantile" (QR-DQN)
            or "implicit_quantile" (IQN).
        num_atoms: Atoms N of each action's return distribution: 51 in C51, 200 in QR-DQN. For the
            head "implicit_quantile", the quantiles averaged into an action value: 32 in Dopamine.
            Ignored by "values".
        value_bound: Largest return on the support of "categorical", linspace(-value_bound,
            value_bound, num_atoms), in units of the training rewards; ignored by other heads.
        dueling: Whether to split the head into one state value and an advantage per action (Wang et
            al., 2016).
        noisy: Whether the layers after the convolutions have noisy weights (Fortunato et
            al., 2018).
        quantile_embedding_dim: Cosine features per quantile level of "implicit_quantile", 64 in
            Dopamine; ignored by other heads.
        width: Factor on the channels of "impala_cnn"; must be 1 for other networks.
        input_low: For "mlp" on vectors: the value of each element that is mapped to -1 before the
            first layer, as in Dopamine's classic control; empty for no rescaling.
        input_high: The value of each element that is mapped to +1; as many as in `input_low`.
        activation: Activation of the hidden layers of "mlp": "relu", or "tanh" as in the PPO
            policies of Stable-Baselines3 and CleanRL; must be "relu" for other networks.
        layer_norm: Whether the hidden linear layers, the units of "mlp" or `hidden_units`, are
            normalised before their activation (Ba et al., 2016).
        pool_padding: Padding of the max pooling of "impala_cnn": "SAME" as in TensorFlow and JAX,
            or "SYMMETRIC", one pixel on each side, as in PyTorch; ignored by other networks.
        kernel_init: Initial weights of plain layers: "dopamine", as in Dopamine's network of that
            name and head (fan-in scaling for quantile heads and for C51 on "nature_cnn", else
            Xavier's); or "xavier_uniform" for every head, as in Dopamine's full Rainbow.
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
    # Older cards lack these; a frozen policy draws no weights.
    width: int = may_be_missing(1)
    input_low: tuple[float, ...] = may_be_missing(())
    input_high: tuple[float, ...] = may_be_missing(())
    activation: Literal["relu", "tanh"] = may_be_missing("relu")
    layer_norm: bool = may_be_missing(False)
    pool_padding: Literal["SAME", "SYMMETRIC"] = may_be_missing("SAME")
    kernel_init: Literal["dopamine", "xavier_uniform"] = may_be_missing("dopamine")

    def __post_init__(self) -> None:
        """Refuse architectures that cannot be built."""
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
