"""The memory that a network would need, computed before allocating any.

A card of a few hundred bytes can describe a network with few parameters whose first layer outputs
250 GB per state. Here it is traced abstractly: shapes only, no numbers.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from rrl_agents.ranges import check_range

MAX_PARAMETERS = 1 << 28
"""Bound of the parameters of one network, 1 GiB in float32: 60 times the Nature DQN."""

MAX_ACTIVATIONS = 1 << 22
"""Bound of one layer's outputs for one state, 16 MiB in float32: 17 times those of a full IQN.

A service needs this for every row of a batch, so a card's `num_atoms` alone could exhaust
memory."""


def check_size(network: nn.Module, observation_shape: tuple[int, ...]) -> Any:
    """The shapes of a network's parameters; refuses an implausibly large network.

    Args:
        network: From `make_network`.
        observation_shape: Shape of one state, without the batch axis.

    Returns:
        The tree of its parameters, abstract: nothing is computed or allocated.

    Raises:
        ValueError: When it has more than `MAX_PARAMETERS` parameters, or a layer has more than
            `MAX_ACTIVATIONS` outputs for one state.
    """
    # A broadcast zero: the right shape and type without the memory.
    state = np.broadcast_to(np.uint8(0), (1, *observation_shape))
    # The key is abstract, too, so that checking sizes starts no device.
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), state))
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    steps = jax.make_jaxpr(network.apply)(params, state).jaxpr.eqns
    sizes = (math.prod(output.aval.shape) for step in steps for output in step.outvars)
    check_range("number of parameters of the network", parameters, most=MAX_PARAMETERS)
    check_range("size of one layer's outputs for one state", max(sizes), most=MAX_ACTIVATIONS)
    return params
