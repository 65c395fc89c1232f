from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from rrl_agents.checkpoints.hints import AGENTS, Hints
from rrl_agents.checkpoints.import_dopamine import import_dopamine_agent
from rrl_agents.checkpoints.safe_unpickling import load_safely
from rrl_agents.checkpoints.teacher_card import Compute
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import make_network
from tests.support.dopamine_agents import Layers


def bundle_of(layers: Any) -> dict[str, Any]:
    return {"state": np.zeros((1, 84, 84, 4)), "training_steps": 1234, "online_params": layers}


@pytest.mark.parametrize(
    "generation",
    [
        "dopamine4.0.2_flax0.3_numpy",
        "dopamine4.0.5_flax0.6_devicearray",
        "dopamine4.0.6_flax0.6.11_jaxarray",
    ],
)
def test_every_generation_gives_the_q_values_its_own_agent_gave(
    fixtures: Path, generation: str
) -> None:
    agent = import_dopamine_agent(fixtures / generation / "1")
    assert agent.card.name == "1, Dopamine checkpoint 1"
    assert agent.card.num_actions == 6
    assert agent.card.network == NetworkConfig(features=(8, 8, 8), hidden_units=16)
    expected = np.load(fixtures / generation / "expected_q.npz", allow_pickle=False)
    apply = jax.jit(make_network(agent.card.network, agent.card.num_actions).apply)
    found = np.asarray(apply(agent.params, expected["states"]))
    np.testing.assert_allclose(found, expected["q_values"], rtol=1e-4)


def test_big_endian_doubles_become_float32(
    small_layers: Layers, write_agent: Callable[..., Path]
) -> None:
    foreign = jax.tree.map(lambda leaf: leaf.astype(">f8"), small_layers)
    agent = import_dopamine_agent(write_agent(bundle_of(foreign)))
    jax.tree.map(np.testing.assert_array_equal, agent.params, {"params": small_layers})


@pytest.mark.parametrize(
    ("path", "leaf", "message"),
    [
        ("Conv_1/kernel", None, r"three convolutions, then"),
        ("Dense_1/bias", None, "Dense_1/bias has None, needs"),
        (
            "Conv_1/kernel",
            np.zeros((4, 4, 9, 3)),
            r"Conv_1/kernel has \(4, 4, 9, 3\), needs \(4, 4, 2, 3\)",
        ),
        (
            "Dense_0/kernel",
            np.zeros((483, 5)),
            r"Dense_0/kernel has \(483, 5\), needs \(484, 5\)",
        ),
        ("Dense_1/kernel", np.zeros((6, 6)), r"Dense_1/kernel has \(6, 6\), needs \(5, 6\)"),
        ("Dense_2/kernel", np.zeros((7, 1)), "Dense_2/bias has None, needs"),
        ("NoisyNetwork_0/kernel_mu", np.zeros((5, 6)), "NoisyNetwork_0/[a-z_]+ has None"),
        ("Conv_2/bias", np.zeros((4, 1)), r"Conv_2/bias has \(4, 1\)"),
        ("Conv_2/bias", np.zeros(4, np.int32), "Conv_2/bias is not an array of floating-point"),
        ("Conv_2/bias", [0.0] * 4, "Conv_2/bias is not an array of floating-point"),
        ("Dense_1/kernel", np.zeros((5, 0)), "Dense_1/kernel is not an array"),
        ("Dense_1/kernel", np.float32(1), "Dense_1/kernel is not an array"),
        ("Dense_1/bias", np.full(6, np.nan), "Dense_1/bias .* numbers that are not finite"),
        # Too large for float32.
        ("Dense_1/bias", np.full(6, 1e300), "Dense_1/bias .* numbers that are not finite"),
        ("Dense_1/scale", np.zeros(6), "Dense_1/scale' is in no network of Dopamine's"),
        ("Conv_00/bias", np.zeros(2), "Conv_00/bias' is in no network of Dopamine's"),
        ("Stack_0/Conv_0/bias", np.zeros(2), "expected one"),
    ],
)
def test_the_error_names_the_missing_or_misshapen_leaf(
    small_layers: Layers, write_agent: Callable[..., Path], path: str, leaf: Any, message: str
) -> None:
    *parents, name = path.split("/")
    layer: Any = small_layers
    for parent in parents:
        layer = layer.setdefault(parent, {})
    layer.pop(name, None)
    if leaf is not None:
        layer[name] = leaf
    agent = write_agent(bundle_of(small_layers))
    with pytest.raises(ValueError, match=message) as caught:
        import_dopamine_agent(agent)
    assert str(caught.value).startswith(f"{agent}/checkpoints/ckpt.7: ")


@pytest.mark.parametrize("gone", ["Conv_0", "Conv_1", "Dense_0", "Dense_1"])
def test_a_missing_layer_is_not_taken_for_another_way_of_counting(
    small_layers: Layers, write_agent: Callable[..., Path], gone: str
) -> None:
    # IQN without its first dense layer would look like DQN, if the others moved up.
    small_layers |= {"Dense_2": small_layers["Dense_1"]}
    del small_layers[gone]
    with pytest.raises(ValueError, match="of the layers some are missing, there are .'Conv_"):
        import_dopamine_agent(write_agent(bundle_of(small_layers)))


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        ([1, 2], r"no online_params in it, and no tf_ckpt-7\.index beside it"),
        ({"state": None}, "no online_params in it"),
        ({"online_params": 3}, r"in the scopes \[\]; .* begins with \['online_params'\]"),
        ({"online_params": {"params": 3}}, r"begins with \['online_params/params'\]"),
        ({"online_params": {}}, r"in the scopes \[\]"),
        ({"online_params": {7: 3}}, r"begins with \['online_params/7'\]"),
    ],
)
def test_a_pickle_of_something_else_is_refused(
    write_agent: Callable[..., Path], bundle: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        import_dopamine_agent(write_agent(bundle))


@pytest.mark.parametrize("steps", [np.int64(9), np.array(9), jnp.int32(9), 9])
def test_training_steps_may_be_a_scalar_of_any_library(
    small_layers: Layers, write_agent: Callable[..., Path], steps: Any
) -> None:
    agent = import_dopamine_agent(write_agent(bundle_of(small_layers) | {"training_steps": steps}))
    # 4 frames each.
    assert agent.card.compute == Compute(environment_frames=36)


@pytest.mark.parametrize("steps", [-1, 2.5, "many", [1], 2**300])
def test_training_steps_that_are_no_count_are_refused(
    small_layers: Layers, write_agent: Callable[..., Path], steps: Any
) -> None:
    bundle = bundle_of(small_layers) | {"training_steps": steps}
    with pytest.raises(ValueError, match="ckpt.7: (training_steps|environment_frames) is"):
        import_dopamine_agent(write_agent(bundle))


_ODD_VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=3) | st.integers(), st.none(), max_size=3),
    numpy_st.arrays(
        dtype=st.sampled_from(["f2", "f4", "f8", "i4", "?", ">f4"]),
        shape=numpy_st.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9),
    ),
)
_LAYER_NAMES = st.sampled_from(
    [f"{kind}_{index}" for kind in ("Conv", "Dense", "NoisyNetwork") for index in range(6)]
)


@settings(max_examples=100, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            _LAYER_NAMES,
            st.sampled_from(["kernel", "bias", "kernel_mu", "scale", None]),
            _ODD_VALUES,
        ),
        min_size=1,
        max_size=4,
    ),
    agent=st.sampled_from([None, *AGENTS]),
    num_actions=st.none() | st.integers(1, 20),
)
def test_a_changed_network_is_read_or_refused_in_one_line(
    small_layers: Layers,
    tmp_path: Path,
    changes: list[tuple[str, str | None, Any]],
    agent: Any,
    num_actions: int | None,
) -> None:
    layers: dict[Any, Any] = copy.deepcopy(small_layers)
    for name, leaf, value in changes:
        if leaf is None:
            layers[name] = value
        elif isinstance(layers.setdefault(name, {}), dict):
            layers[name][leaf] = value
    file = tmp_path / "ckpt.1"
    file.write_bytes(pickle.dumps(bundle_of(layers)))
    try:
        imported = import_dopamine_agent(file, hints=Hints(agent=agent, num_actions=num_actions))
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
    else:
        assert imported.card.network is not None
        card_network = make_network(imported.card.network, imported.card.num_actions)
        state = np.zeros((1, 84, 84, 4), np.uint8)
        wanted = jax.eval_shape(card_network.init, jax.random.key(0), state)
        jax.tree.map(
            lambda w, f: np.testing.assert_equal(f.shape, w.shape), wanted, imported.params
        )


@pytest.fixture
def tensorflow_agent(fixtures: Path, tmp_path: Path) -> Path:
    """The files of a TensorFlow agent without its replay, to change at will."""
    source = fixtures / "dopamine2.0.5_tf1/1/checkpoints"
    for file in (*source.glob("tf_ckpt-199.*"), source / "ckpt.199"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_a_tensorflow_agent_has_its_clock_from_the_pickle_beside_it_if_python_3_wrote_that(
    tensorflow_agent: Path,
) -> None:
    pickled = tensorflow_agent / "ckpt.199"
    clock = load_safely(pickled.read_bytes())["training_steps"]
    made = import_dopamine_agent(tensorflow_agent).card.made
    assert f"Dopamine TensorFlow DQN checkpoint, iteration 199, after {clock} training" in made
    # Protocol 0, and hostile: run, it would print.
    pickled.write_bytes(b"cos\nsystem\n(S'echo run'\ntR.")
    assert "unknown number of training steps" in import_dopamine_agent(tensorflow_agent).card.made
    pickled.unlink()
    card = import_dopamine_agent(tensorflow_agent).card
    assert card.compute == Compute(environment_frames=None)


def test_a_pickle_that_wants_to_run_something_spoils_a_tensorflow_agent(
    tensorflow_agent: Path,
) -> None:
    (tensorflow_agent / "ckpt.199").write_bytes(b"\x80\x03cos\nsystem\n.")
    with pytest.raises(ValueError, match="refused: the pickle asks for 'os.system'"):
        import_dopamine_agent(tensorflow_agent)


def test_a_bundle_with_both_kinds_of_parameters_is_the_jax_agent_it_says(
    tensorflow_agent: Path, small_layers: Layers
) -> None:
    (tensorflow_agent / "ckpt.199").write_bytes(pickle.dumps(bundle_of(small_layers)))
    made = import_dopamine_agent(tensorflow_agent).card.made
    assert "Dopamine JAX DQN checkpoint, iteration 199, after 1234 training" in made
