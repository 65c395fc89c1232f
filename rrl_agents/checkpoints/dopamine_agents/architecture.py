"""Finds the Dopamine agent that a network belongs to, from the sizes of a few kernels.

All have three convolutions, then two or three linear layers, plain or noisy, after F features:

| network of Dopamine | linear layers |
|---|---|
| NatureDQNNetwork, RainbowNetwork, QuantileNetwork | [F, H], [H, outputs] |
| ImplicitQuantileNetwork | [E, F], [F, H], [H, outputs] |
| FullRainbowNetwork, dueling | [F, H], [H, outputs], [H, value's outputs] |
| FullRainbowNetwork, not dueling | noisy [F, H], [H, outputs] |

The value outputs of a dueling network give its number of atoms. For other networks only the last
layer helps: 306 outputs are C51 with 6 actions, as 306 = 6 * 51 and no Atari game has more than 18
actions. Other numbers of atoms or actions are ambiguous, and the user must give hints.

The result is a guess, which the caller checks against every parameter (`check_params`).
"""

from __future__ import annotations

from collections.abc import Mapping

from rrl_agents.checkpoints.hints import AGENTS, Hints, LeftOpen
from rrl_agents.networks.config import Head, NetworkConfig, Padding

OBSERVATION_SHAPE = (84, 84, 4)
"""Observations of Dopamine's Atari agents: height, width, stack with the oldest frame first."""

# 84 pixels after strides 4, 2, 1: 21, 11, 11 padded SAME; 20, 9, 7 padded VALID.
_PADDING_BY_CELLS: dict[int, Padding] = {11 * 11: "SAME", 7 * 7: "VALID"}

MAX_ATARI_ACTIONS = 18
"""Size of Atari's full action set."""

ATOMS: dict[Head, int] = {"values": 1, "categorical": 51, "quantile": 200}
"""Outputs per action of Dopamine's heads, unless a gin file changes them."""

IQN_QUANTILES = 32
"""Quantiles over which Dopamine's IQN averages when it acts (`num_quantile_samples`)."""

_HEADS_BY_AGENT: dict[str | None, tuple[Head, ...]] = {
    None: ("values", "categorical", "quantile"),
    "dqn": ("values",),
    "c51": ("categorical",),
    "rainbow": ("categorical",),
    "quantile": ("quantile",),
    "full_rainbow": ("categorical", "values"),
}
_ALGORITHMS = {
    "values": "DQN",
    "categorical": "C51 or Rainbow",
    "quantile": "QR-DQN",
    "implicit_quantile": "IQN",
}


def guess_architecture(
    shapes: Mapping[str, tuple[int, ...]], hints: Hints
) -> tuple[NetworkConfig, int, str]:
    """Guess the network with leaves of these shapes.

    Args:
        shapes: Linen name of each leaf -> shape, layers in order, each size at least 1.
        hints: The user's hints.

    Returns:
        Our config of the network, its number of actions A, and a readable name of the agent, e.g.
        "C51 or Rainbow", which share a network.

    Raises:
        ValueError: It is not one of Dopamine's, the shapes are ambiguous, or the hints contradict
            them.
    """
    sizes = _kernels(shapes)
    features, linear = tuple(size[-1] for size in sizes[:3]), sizes[3:]
    is_noisy = "NoisyNetwork_0/kernel_mu" in shapes
    paddings = {cells * features[-1]: padding for cells, padding in _PADDING_BY_CELLS.items()}
    # An embedding outputs as many numbers as the convolutions, instead of taking them as input.
    is_implicit = len(linear) == 3 and linear[0][0] not in paddings and linear[0][1] in paddings
    embedding_dim = linear.pop(0)[0] if is_implicit else NetworkConfig.quantile_embedding_dim
    (inputs, hidden_units), (_, outputs), *value = linear
    _check_agent(hints.agent, is_implicit=is_implicit, is_full=is_noisy or bool(value))
    head: Head
    if is_implicit:
        head, atoms, num_actions = "implicit_quantile", IQN_QUANTILES, outputs
    elif value:
        head, atoms = "categorical" if value[0][1] > 1 else "values", value[0][1]
        num_actions = outputs // atoms
    else:
        head, atoms, num_actions = guess_lone_head(outputs, hints)
    if hints.num_actions not in (None, num_actions):
        raise ValueError(f"it has {num_actions} actions, not the {hints.num_actions} given")
    network = NetworkConfig(
        features=features,
        hidden_units=hidden_units,
        padding=paddings.get(inputs, "SAME"),
        head=head,
        # Fields that a head does not read keep their defaults.
        num_atoms=NetworkConfig.num_atoms if head == "values" else atoms,
        value_bound=hints.value_bound if head == "categorical" else NetworkConfig.value_bound,
        dueling=bool(value),
        noisy=is_noisy,
        quantile_embedding_dim=embedding_dim,
    )
    return network, num_actions, _algorithm(network, hints.agent)


def _kernels(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[int, ...]]:
    kernels = {
        name: shape for name, shape in shapes.items() if name.endswith(("/kernel", "/kernel_mu"))
    }
    if [len(shape) for shape in kernels.values()] not in ([4, 4, 4, 2, 2], [4, 4, 4, 2, 2, 2]):
        raise ValueError(
            f"there are {kernels}; Dopamine's networks have three convolutions, then two or three "
            "linear layers"
        )
    return list(kernels.values())


def _check_agent(agent: str | None, *, is_implicit: bool, is_full: bool) -> None:
    possible = [other for other in AGENTS if other != "iqn"]
    if is_implicit or is_full:
        possible = ["iqn" if is_implicit else "full_rainbow"]
    if agent is not None and agent not in possible:
        raise ValueError(
            f"it is not a network of the agent {agent!r}: its layers are those of "
            f"{' or '.join(possible)}"
        )


def guess_lone_head(outputs: int, hints: Hints) -> tuple[Head, int, int]:
    """Head, atoms and actions of a last layer, if shapes and hints determine them.

    Args:
        outputs: Outputs of the layer.
        hints: The user's hints.

    Raises:
        LeftOpen: They are ambiguous.
        KeyError: The hints name an agent without such a layer.
    """
    heads = _HEADS_BY_AGENT[hints.agent]
    if hints.num_actions is not None:
        atoms = max(outputs // max(hints.num_actions, 1), 1)
        fitting = [head for head in heads if ATOMS[head] == atoms]
        fitting = fitting or [head for head in heads if head != "values"]
        if len(fitting) == 1:
            return fitting[0], atoms, outputs // atoms
    else:
        for head in heads:
            num_actions, rest = divmod(outputs, ATOMS[head])
            if rest == 0 and (num_actions <= MAX_ATARI_ACTIONS or hints.agent is not None):
                return head, ATOMS[head], num_actions
    raise LeftOpen(
        f"its last layer has {outputs} outputs, which is ambiguous: up to {MAX_ATARI_ACTIONS} "
        f"would be the actions of DQN, a multiple of {ATOMS['categorical']} those of C51 or "
        f"Rainbow, of {ATOMS['quantile']} those of a quantile agent; AGENT is "
        f"one of {', '.join(AGENTS)}, N its number of actions",
        agent="AGENT",
        num_actions="N",
    )


def _algorithm(network: NetworkConfig, agent: str | None) -> str:
    if agent in ("c51", "rainbow"):
        return agent.capitalize()
    extras = [extra for extra in ("dueling", "noisy") if getattr(network, extra)]
    if network.head == "categorical" and (extras or agent == "full_rainbow"):
        return "full Rainbow"
    return " ".join((*extras, _ALGORITHMS[network.head]))
