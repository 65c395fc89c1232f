"""The devices that compute updates: one, or several that share the rows of each batch.

Each of N devices holds all parameters and computes B / N rows; XLA sums their gradients. That is
JAX's usual data parallelism: the program is the same as for one device, and the arguments' sharding
does the rest (`jax.sharding`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_ROWS = "rows"

# JAX has no types for it.
_spec: Callable[..., PartitionSpec] = PartitionSpec


class Devices(NamedTuple):
    """The sharding of an update's arrays; None for JAX's default device.

    Attributes:
        replicated: For parameters, optimiser and metrics: a full copy on each device.
        batches: For the batches of a block, [K, B, ...]: each device has B / N rows of each.
    """

    replicated: NamedSharding | None = None
    batches: NamedSharding | None = None

    def place_state(self, state: Any) -> Any:
        """A state with copies of its arrays on every device."""
        return state if self.replicated is None else jax.device_put(state, self.replicated)


ONE_DEVICE = Devices()


@functools.cache
def choose_devices(count: int) -> Devices:
    """The first N devices of JAX's default platform.

    Args:
        count: N, at least 1.

    Raises:
        ValueError: there are fewer.
    """
    if count == 1:
        return ONE_DEVICE
    found = jax.local_devices()
    if len(found) < count:
        raise ValueError(
            f"learner.devices is {count}, but JAX finds {len(found)} of the platform "
            f"{jax.default_backend()!r} here; lower it, or give the learner more"
        )
    mesh = Mesh(np.array(found[:count]), (_ROWS,))
    return Devices(*(NamedSharding(mesh, axes) for axes in (_spec(), _spec(None, _ROWS))))
