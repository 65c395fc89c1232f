"""Initial weights of students against the library's own network, by what a draw looks like.

Those whose layers have the library's names start with the very same weights, which
`test_distributional_networks.py` shows. The others' draws differ by name: here both sides
draw from several keys, and means, variances and ranges must agree layer by layer. Dopamine's
networks are run here. Those of the released code of Agarwal et al., 2022, which nothing here
installs, were run by `tests/oracles/record_released_networks.py`, and their numbers recorded.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import make_network
from rrl_agents.students.registry import STUDENTS

ACTIONS, SEEDS = 4, 4
MINATAR, VECTOR = (10, 10, 4), (4, 1)
RECORDED = Path(__file__).parents[2] / "oracles" / "released_networks.json"

Draws = Mapping[str, np.ndarray[Any, Any]]
"""Layer's parameter -> all of its draws."""


def _drawn(network: Any, shape: tuple[int, ...]) -> Draws:
    """Parameters of a library's network, which takes one state, drawn with several keys."""
    init = jax.jit(network.init)
    trees = [init(jax.random.PRNGKey(seed), np.zeros(shape, np.uint8)) for seed in range(SEEDS)]
    return _by_layer(trees)


def _ours(config: NetworkConfig, shape: tuple[int, ...]) -> Draws:
    init = jax.jit(make_network(config, ACTIONS).init)
    states = np.zeros((1, *shape), np.uint8)
    return _by_layer([init(jax.random.PRNGKey(100 + seed), states) for seed in range(SEEDS)])


def _by_layer(trees: list[Any]) -> Draws:
    flat = [jax.tree_util.tree_flatten_with_path(tree["params"])[0] for tree in trees]
    return {
        ".".join(key.key for key in leaves[0][0]): np.stack(
            [np.asarray(leaf) for _, leaf in leaves]
        )
        for leaves in zip(*flat, strict=True)
    }


def _statistics(draws: Draws) -> dict[str, dict[str, Any]]:
    return {
        layer: {
            "shape": list(values.shape[1:]),
            "mean": float(values.mean()),
            "variance": float(values.var()),
            "largest": float(np.abs(values).max()),
        }
        for layer, values in draws.items()
    }


def _check_alike(ours: Draws, theirs: Mapping[str, Mapping[str, Any]]) -> None:
    found = _statistics(ours)
    assert sorted(found) == sorted(theirs)
    for layer, expected in theirs.items():
        here, draws = found[layer], ours[layer].size
        assert here["shape"] == list(expected["shape"]), layer
        deviation = math.sqrt(max(here["variance"], expected["variance"]))
        # Each mean has a standard error of sigma / sqrt(n); a uniform variance one of
        # sqrt(0.8 / n). Five errors of the difference of two.
        assert abs(here["mean"] - expected["mean"]) <= 5 * deviation * math.sqrt(2 / draws), layer
        tolerance = 5 * math.sqrt(2 * 0.8 / draws)
        assert here["variance"] == pytest.approx(expected["variance"], rel=tolerance), layer
        # The largest of n uniform draws is on average 1 / n of the range from its end, that of n
        # draws of a normal distribution cut off at two sigma 4.4 / n.
        assert here["largest"] == pytest.approx(expected["largest"], rel=60 / draws + 1e-6), layer


def test_the_student_for_vectors_starts_from_weights_like_its_librarys() -> None:
    from dopamine.jax import networks

    theirs = _drawn(networks.ClassicControlDQNNetwork(num_actions=ACTIONS), VECTOR)
    names = {"layers_0": "Dense_0", "layers_1": "Dense_1", "final_layer": "Dense_2"}
    renamed = {
        f"{names[layer]}.{parameter}": draws
        for (layer, parameter), draws in ((name.split("."), theirs[name]) for name in theirs)
    }
    _check_alike(_ours(STUDENTS["vector_dqn"].network, VECTOR), _statistics(renamed))


def test_minatars_student_draws_its_layers_as_dopamines_minatar_network() -> None:
    """Theirs reads action values off the convolution; ours has a hidden layer, as MinAtar's own.

    So the convolution is compared as it is, and linear layers by Xavier's rule, which theirs shows:
    variance * (inputs + outputs) is the same for all.
    """
    from dopamine.labs.environments.minatar import minatar_env

    theirs = _drawn(minatar_env.MinatarDQNNetwork(num_actions=ACTIONS), MINATAR)
    ours = _ours(STUDENTS["minatar_dqn"].network, MINATAR)
    convolution = ("Conv_0.kernel", "Conv_0.bias")
    _check_alike(
        {name: ours[name] for name in convolution},
        _statistics({name: theirs[name] for name in convolution}),
    )
    rule = theirs["Dense_0.kernel"].var() * sum(theirs["Dense_0.kernel"].shape[1:])
    for layer in ("Dense_0.kernel", "Dense_1.kernel"):
        assert ours[layer].var() * sum(ours[layer].shape[1:]) == pytest.approx(rule, rel=0.1)
        assert ours[layer].mean() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("network", ["ImpalaRainbowNetwork", "ImpalaImplicitQuantileNetwork"])
def test_impala_networks_start_like_the_released_codes(network: str) -> None:
    recorded = json.loads(RECORDED.read_text())
    config = STUDENTS["rainbow_impala"].network
    if network == "ImpalaImplicitQuantileNetwork":
        config = dataclasses.replace(
            config, head="implicit_quantile", num_atoms=32, kernel_init="dopamine"
        )
    _check_alike(_ours(config, tuple(recorded["observation_shape"])), recorded["networks"][network])
