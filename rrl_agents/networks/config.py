"""What an action-value network is made of: settings that a run or a teacher's card writes down.

A card comes from anywhere, and its numbers size memory: each has an upper bound here.
"""

from __future__ import annotations

import dataclasses
import math

from rrl_agents.networks.torsos import NETWORKS
from rrl_agents.typed_json import may_be_missing

HEADS = ("values", "categorical", "quantile", "implicit_quantile")
"""What a network may estimate of the return: its mean, or its distribution in one of three ways."""

KERNEL_INITS = ("dopamine", "xavier_uniform")
"""How initial weights of plain layers are drawn; `initial_weights.kernel_init` has the details."""

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
        name: One of `torsos.NETWORKS`.
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
        kernel_init: Initial weights of plain layers: "dopamine" for those of Dopamine's network of
            that name and head, or "xavier_uniform" for every head. Dopamine has two networks for a
            plain categorical head: C51's starts smaller, that of the full Rainbow does not.
    """

    name: str = "nature_cnn"
    features: tuple[int, ...] = (32, 64, 64)
    hidden_units: int = 512
    padding: str = "SAME"
    head: str = "values"
    num_atoms: int = 51
    value_bound: float = 10.0
    dueling: bool = False
    noisy: bool = False
    quantile_embedding_dim: int = 64
    # Cards were written without these before there were any; a frozen policy draws no weights.
    width: int = may_be_missing(1)
    input_low: tuple[float, ...] = may_be_missing(())
    input_high: tuple[float, ...] = may_be_missing(())
    kernel_init: str = may_be_missing("dopamine")

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        if self.name not in NETWORKS:
            raise ValueError(f"network {self.name!r} is unknown; choose one of {sorted(NETWORKS)}")
        if self.padding not in ("SAME", "VALID"):
            raise ValueError(f"padding is {self.padding!r}; choose 'SAME' or 'VALID'")
        if self.head not in HEADS:
            raise ValueError(f"head is {self.head!r}; choose one of {sorted(HEADS)}")
        if self.kernel_init not in KERNEL_INITS:
            raise ValueError(
                f"kernel_init is {self.kernel_init!r}; choose one of {sorted(KERNEL_INITS)}"
            )
        _check_features(self.name, self.features)
        check_whole("hidden_units", self.hidden_units, MAX_UNITS)
        check_whole("num_atoms", self.num_atoms, MAX_ATOMS)
        check_whole("quantile_embedding_dim", self.quantile_embedding_dim, MAX_ATOMS)
        _check_width(self.name, self.width)
        _check_inputs(self.name, self.input_low, self.input_high)
        if not (math.isfinite(self.value_bound) and 0 < self.value_bound <= MAX_VALUE_BOUND):
            raise ValueError(
                f"value_bound is {self.value_bound}; use a number above 0, at most "
                f"{MAX_VALUE_BOUND:g}"
            )

    @property
    def dense_units(self) -> tuple[int, ...]:
        """Units of each hidden linear layer, first to last."""
        is_perceptron = NETWORKS[self.name].is_perceptron
        return self.features if is_perceptron else (self.hidden_units,)

    @property
    def atoms_per_action(self) -> int:
        """Outputs of the last layer for one action."""
        return self.num_atoms if self.head in ("categorical", "quantile") else 1


def check_whole(field: str, number: int, largest: int) -> None:
    """Refuse a size that is no whole number from 1 to `largest`.

    Raises:
        ValueError: naming the field.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= largest:
        raise ValueError(f"{field} holds {number!r}; use a whole number from 1 to {largest}")


def _check_features(name: str, features: tuple[int, ...]) -> None:
    torso = NETWORKS[name]
    if torso.num_features not in (None, len(features)):
        raise ValueError(
            f"features is {features}; {name} needs {torso.num_features} numbers, one per layer"
        )
    if not features and not torso.is_perceptron:
        raise ValueError(f"features is empty; {name} needs the channels of one layer or more")
    if len(features) > MAX_LAYERS:
        raise ValueError(f"features names {len(features)} layers; at most {MAX_LAYERS} are allowed")
    for units in features:
        check_whole("features", units, MAX_UNITS)


def _check_inputs(name: str, low: tuple[float, ...], high: tuple[float, ...]) -> None:
    if len(low) != len(high) or len(low) > MAX_INPUTS:
        raise ValueError(
            f"input_low has {len(low)} numbers, input_high {len(high)}; give one of each for every "
            f"element of a vector, at most {MAX_INPUTS}"
        )
    if low and not NETWORKS[name].is_perceptron:
        raise ValueError(f"input_low is given; only a perceptron rescales its inputs, not {name}")
    for least, most in zip(low, high, strict=True):
        if not (math.isfinite(least) and math.isfinite(most) and least < most):
            raise ValueError(
                f"input_low has {least} where input_high has {most}; use finite numbers, the "
                "former below the latter"
            )


def _check_width(name: str, width: int) -> None:
    check_whole("width", width, MAX_WIDTH)
    if width != 1 and not NETWORKS[name].has_width:
        raise ValueError(f"width is {width}; {name} has none, give it other features")
