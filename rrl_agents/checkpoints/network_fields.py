"""The "network" object of a teacher's card, read strictly: a card may come from anywhere."""

from __future__ import annotations

from rrl_agents.checkpoints.json_fields import JsonFields
from rrl_agents.networks.config import NetworkConfig


def network_from_fields(fields: JsonFields) -> NetworkConfig:
    """Read a network's architecture; every field of `NetworkConfig` must be there and no other.

    What cards were written without before there was any may be missing, for its default: `width`,
    bounds of the inputs, and `kernel_init`, since a frozen policy draws no weights.

    Args:
        fields: The JSON object, all of which is taken.

    Returns:
        The architecture, within the bounds of `NetworkConfig`; nothing has been allocated for it.

    Raises:
        ValueError: When a field is unknown, missing, of the wrong type or out of range; the message
            names it.
    """
    config = NetworkConfig(
        name=fields.text("name"),
        features=fields.wholes("features"),
        hidden_units=fields.whole("hidden_units"),
        padding=fields.text("padding"),
        head=fields.text("head"),
        num_atoms=fields.whole("num_atoms"),
        value_bound=fields.number("value_bound"),
        dueling=fields.truth("dueling"),
        noisy=fields.truth("noisy"),
        quantile_embedding_dim=fields.whole("quantile_embedding_dim"),
        width=fields.whole("width") if fields.has("width") else 1,
        input_low=fields.numbers("input_low") if fields.has("input_low") else (),
        input_high=fields.numbers("input_high") if fields.has("input_high") else (),
        kernel_init=fields.text("kernel_init") if fields.has("kernel_init") else "dopamine",
    )
    fields.finish()
    return config
