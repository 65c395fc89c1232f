"""Networks that a small card can ask for and no memory can hold are refused unbuilt."""

from __future__ import annotations

from typing import Any

import pytest

from rrl_agents.networks.registry import NetworkConfig, make_network
from rrl_agents.networks.size import check_size


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"head": "categorical", "dueling": True, "noisy": True},
        {"head": "quantile", "num_atoms": 200},
        {"head": "implicit_quantile", "num_atoms": 32},
        {"hidden_units": 4096, "dueling": True, "noisy": True},
        {"name": "mlp", "features": (256, 256)},
        {"name": "impala_cnn", "features": (16, 32, 32), "width": 4},
        {"name": "small_cnn", "features": (16, 16), "hidden_units": 128},
    ],
)
def test_networks_of_full_size_pass(settings: dict[str, Any]) -> None:
    check_size(make_network(NetworkConfig(**settings), 18), (84, 84, 4))


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        # 1024 x 1024 places with 65,536 channels: 2 ** 36 outputs, 256 GiB, for one state.
        ({"features": (65_536, 1, 1)}, (4096, 4096, 1), "outputs for one state is 68719476736"),
        # 512 x 512 features times 1,024 quantiles: 2 ** 28.
        (
            {"features": (1, 1, 1), "head": "implicit_quantile", "num_atoms": 1024},
            (4096, 4096, 1),
            "outputs for one state is 268435456",
        ),
        # 11 * 11 * 64 features times 1,024 quantiles, 30 MiB for each state of a batch.
        (
            {"head": "implicit_quantile", "num_atoms": 1024},
            (84, 84, 4),
            "outputs for one state is 7929856",
        ),
        # 9 * 65,536 ** 2 in the third kernel alone.
        (
            {"features": (1, 65_536, 65_536)},
            (84, 84, 4),
            r"parameters of the network is [0-9]{11}; use a number at most 268435456",
        ),
    ],
)
def test_a_network_too_large_to_be_meant_is_refused_without_being_made(
    settings: dict[str, Any], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_size(make_network(NetworkConfig(**settings), 6), shape)
