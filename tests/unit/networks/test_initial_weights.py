"""Initial weights of every student against the library's own network, by what a draw looks like.

Both sides draw from several keys; means, variances and ranges must agree layer by layer. Dopamine's
networks are run here. Those of the released code of Agarwal et al., 2022, which nothing here
installs, were run by `tests/oracles/record_released_networks.py`, and their numbers recorded.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import make_network
from rrl_agents.students.registry import STUDENTS

ACTIONS, SEEDS = 4, 4
IMAGES, MINATAR, VECTOR = (20, 20, 4), (10, 10, 4), (4, 1)
SUPPORT = np.linspace(-10.0, 10.0, 51, dtype=np.float32)
RECORDED = Path(__file__).parents[2] / "oracles" / "released_networks.json"

Draws = Mapping[str, np.ndarray[Any, Any]]
"""Layer's parameter -> all of its draws."""


def _drawn(network: Any, shape: tuple[int, ...], **arguments: Any) -> Draws:
    """Parameters of a library's network, which takes one state, drawn with several keys."""
    init = jax.jit(functools.partial(network.init, **arguments))
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


def _nature(**settings: Any) -> Draws:
    from dopamine.jax import networks

    return _drawn(networks.NatureDQNNetwork(num_actions=ACTIONS, **settings), IMAGES)


def _c51() -> Draws:
    from dopamine.jax import networks

    network = networks.RainbowNetwork(num_actions=ACTIONS, num_atoms=51)
    return _drawn(network, IMAGES, support=SUPPORT)


def _full_rainbow(*, noisy: bool = False, dueling: bool = False, atoms: int = 51) -> Draws:
    from dopamine.jax import networks

    network = networks.FullRainbowNetwork(
        num_actions=ACTIONS,
        num_atoms=atoms,
        noisy=noisy,
        dueling=dueling,
        distributional=atoms > 1,
    )
    key = jax.random.PRNGKey(0)
    return _drawn(network, IMAGES, support=SUPPORT[:atoms], eval_mode=True, key=key)


def _quantile() -> Draws:
    from dopamine.jax import networks

    return _drawn(networks.QuantileNetwork(num_actions=ACTIONS, num_atoms=200), IMAGES)


def _implicit_quantile() -> Draws:
    from dopamine.jax import networks

    network = networks.ImplicitQuantileNetwork(num_actions=ACTIONS, quantile_embedding_dim=64)
    # The number of quantiles is a shape, which a traced argument cannot be.
    trees = [
        network.init(
            jax.random.PRNGKey(seed), np.zeros(IMAGES, np.uint8), 32, jax.random.PRNGKey(0)
        )
        for seed in range(SEEDS)
    ]
    return _by_layer(trees)


def _classic_control() -> Draws:
    """Its layers are called otherwise: layers_0 and layers_1, then final_layer."""
    from dopamine.jax import networks

    theirs = _drawn(networks.ClassicControlDQNNetwork(num_actions=ACTIONS), VECTOR)
    names = {"layers_0": "Dense_0", "layers_1": "Dense_1", "final_layer": "Dense_2"}
    return {names[name.split(".")[0]] + "." + name.split(".")[1]: theirs[name] for name in theirs}


LIBRARY: Mapping[str, Callable[[], Draws]] = {
    "dqn": _nature,
    "double_dqn": _nature,
    "dueling_dqn": functools.partial(_full_rainbow, dueling=True, atoms=1),
    "c51": _c51,
    "rainbow": _full_rainbow,
    "noisy_dqn": functools.partial(_full_rainbow, noisy=True, atoms=1),
    "qr_dqn": _quantile,
    "iqn": _implicit_quantile,
    "drq": functools.partial(_full_rainbow, dueling=True, atoms=1),
    "vector_dqn": _classic_control,
}
"""Student -> draws of the network that its library has for it."""

ELSEWHERE = {
    "rainbow_impala": "recorded from the released code's ImpalaRainbowNetwork",
    "minatar_dqn": "Dopamine's MinatarDQNNetwork has the convolution and no hidden layer",
}


def test_every_student_is_compared_with_a_library() -> None:
    assert set(LIBRARY) | set(ELSEWHERE) == set(STUDENTS)
    assert not set(LIBRARY) & set(ELSEWHERE)


@pytest.mark.parametrize("student", sorted(LIBRARY))
def test_a_student_starts_from_weights_like_its_librarys(student: str) -> None:
    shape = VECTOR if student == "vector_dqn" else IMAGES
    _check_alike(_ours(STUDENTS[student].network, shape), _statistics(LIBRARY[student]()))


@pytest.mark.parametrize(
    ("atoms", "noisy", "dueling"), [(51, True, True), (51, False, True), (51, True, False)]
)
def test_the_full_rainbows_layers_start_like_the_librarys(
    atoms: int, noisy: bool, dueling: bool
) -> None:
    config = NetworkConfig(head="categorical", num_atoms=atoms, noisy=noisy, dueling=dueling)
    theirs = _full_rainbow(noisy=noisy, dueling=dueling, atoms=atoms)
    _check_alike(_ours(config, IMAGES), _statistics(theirs))


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
