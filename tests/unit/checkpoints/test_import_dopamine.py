from __future__ import annotations

import collections
import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.core
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
from rrl_agents.networks.registry import NetworkConfig, make_network

GENERATIONS = (
    "dopamine4.0.2_flax0.3_numpy",
    "dopamine4.0.5_flax0.6_devicearray",
    "dopamine4.0.6_flax0.6.11_jaxarray",
)
Layers = dict[str, dict[str, Any]]


def prelinen(layers: Layers) -> Layers:
    """Flax before linen counted layers of all kinds together: Dense_0, 1 are Dense_3, 4."""
    names = {"Dense_0": "Dense_3", "Dense_1": "Dense_4"}
    return {names.get(name, name): layer for name, layer in layers.items()}


def bundle_of(layers: Any) -> dict[str, Any]:
    return {
        "state": np.zeros((1, 84, 84, 4)),
        "training_steps": 1234,
        "online_params": layers,
        "target_params": layers,
    }


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_gives_the_q_values_its_own_agent_gave(
    fixtures: Path, generation: str
) -> None:
    agent = import_dopamine_agent(fixtures / generation / "1")
    assert agent.number == 1
    assert agent.num_actions == 6
    assert agent.network == NetworkConfig(features=(8, 8, 8), hidden_units=16, padding="SAME")
    expected = np.load(fixtures / generation / "expected_q.npz", allow_pickle=False)
    apply = jax.jit(make_network(agent.network, agent.num_actions).apply)
    for params, key in (
        (agent.online_params, "q_values"),
        (agent.target_params, "target_q_values"),
    ):
        found = np.asarray(apply(params, expected["states"]))
        np.testing.assert_allclose(found, expected[key], rtol=1e-4)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "change",
    [
        lambda layers: layers,
        lambda layers: {"params": layers},
        lambda layers: flax.core.freeze({"params": layers}),
        lambda layers: collections.OrderedDict(reversed(list(prelinen(layers).items()))),
        prelinen,
        lambda layers: flax.core.freeze({"params": jax.tree.map(jnp.asarray, layers)}),
    ],
)
def test_each_way_to_hold_a_generations_parameters_gives_the_same_leaves(
    fixtures: Path, write_agent: Callable[..., Path], change: Any, protocol: int
) -> None:
    source = fixtures / GENERATIONS[0] / "1/checkpoints/ckpt.1"
    layers = load_safely(source)["online_params"]["params"]
    agent = import_dopamine_agent(write_agent(bundle_of(change(layers)), protocol=protocol))
    found = agent.online_params["params"]
    assert list(found) == ["Conv_0", "Conv_1", "Conv_2", "Dense_0", "Dense_1"]
    for name, layer in found.items():
        assert set(layer) == {"kernel", "bias"}
        np.testing.assert_array_equal(layer["kernel"], layers[name]["kernel"])
        np.testing.assert_array_equal(layer["bias"], layers[name]["bias"])
        assert layer["kernel"].dtype == np.float32
    assert (agent.training_steps, agent.number) == (1234, 7)


def test_sizes_are_read_from_the_shapes(
    small_layers: Layers, write_agent: Callable[..., Path]
) -> None:
    agent = import_dopamine_agent(write_agent(bundle_of(small_layers)))
    assert agent.network == NetworkConfig(features=(2, 3, 4), hidden_units=5, padding="SAME")
    assert agent.notes == ()


def test_a_network_padded_valid_is_recognised_by_its_7_by_7_cells(
    small_layers: Layers, write_agent: Callable[..., Path]
) -> None:
    # (84 - 8) / 4 + 1 = 20, (20 - 4) / 2 + 1 = 9, 9 - 3 + 1 = 7: Dense_0 has 7 * 7 * 4 inputs.
    small_layers["Dense_0"]["kernel"] = np.zeros((196, 5), np.float32)
    agent = import_dopamine_agent(write_agent(bundle_of(small_layers)))
    assert agent.network.padding == "VALID"


def test_big_endian_doubles_become_float32_and_the_card_can_say_so(
    small_layers: Layers, write_agent: Callable[..., Path]
) -> None:
    foreign = jax.tree.map(lambda leaf: leaf.astype(">f8"), prelinen(small_layers))
    agent = import_dopamine_agent(write_agent(bundle_of(foreign)))
    np.testing.assert_array_equal(
        agent.online_params["params"]["Dense_1"]["bias"], small_layers["Dense_1"]["bias"]
    )
    assert agent.notes == (
        "layers renamed from the names of flax before linen",
        "parameters converted from float64 to float32",
    )


def test_a_bundle_without_a_target_network_is_accepted(
    small_layers: Layers, write_agent: Callable[..., Path]
) -> None:
    bundle = bundle_of(small_layers)
    del bundle["target_params"]
    assert import_dopamine_agent(write_agent(bundle)).target_params is None


@pytest.mark.parametrize(
    ("path", "leaf", "message"),
    [
        (("Conv_1", "kernel"), None, "online_params/Conv_1/kernel is missing"),
        (("Dense_1", "bias"), None, "online_params/Dense_1/bias is missing"),
        (
            ("Conv_1", "kernel"),
            np.zeros((4, 4, 9, 3), np.float32),
            r"Conv_1/kernel has shape \(4, 4, 9, 3\); its network needs \(4, 4, 2, 3\)",
        ),
        (
            ("Dense_0", "kernel"),
            np.zeros((483, 5), np.float32),
            r"Dense_0/kernel has shape \(483, 5\); its network needs \(484, 5\)",
        ),
        (("Conv_2", "bias"), np.zeros((4, 1), np.float32), r"Conv_2/bias has shape \(4, 1\)"),
        (("Conv_2", "bias"), np.zeros(4, np.int32), "Conv_2/bias is no array of floating-point"),
        (("Conv_2", "bias"), [0.0] * 4, "Conv_2/bias is no array of floating-point"),
        (
            ("Dense_1", "bias"),
            np.full(6, np.nan, np.float32),
            "Dense_1/bias holds numbers that are not finite",
        ),
        (("Dense_1", "scale"), np.zeros(6, np.float32), r"Dense_1 holds \['scale'\]"),
    ],
)
def test_the_error_names_the_missing_or_misshapen_leaf(
    small_layers: Layers,
    write_agent: Callable[..., Path],
    path: tuple[str, str],
    leaf: Any,
    message: str,
) -> None:
    broken = copy.deepcopy(small_layers)
    broken[path[0]].pop(path[1], None)
    if leaf is not None:
        broken[path[0]][path[1]] = leaf
    agent = write_agent(bundle_of(broken))
    with pytest.raises(ValueError, match=message) as caught:
        import_dopamine_agent(agent)
    assert str(agent / "checkpoints/ckpt.7") in str(caught.value)


def test_a_missing_layer_is_named_by_what_is_there(
    small_layers: Layers, write_agent: Callable[..., Path]
) -> None:
    del small_layers["Conv_2"]
    with pytest.raises(ValueError, match=r"has the layers \['Conv_0', 'Conv_1', 'Dense_0'"):
        import_dopamine_agent(write_agent(bundle_of(small_layers)))


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        ([1, 2], "no online_params in it, only list"),
        ({"state": None}, r"no online_params in it, only \['state'\]"),
        ({"online_params": 3}, "online_params is a int"),
        ({"online_params": {"params": 3}}, "online_params/params is a int"),
        ({"online_params": {"encoder": {}}}, "online_params holds 'encoder'"),
        ({"online_params": {"Conv_0": 3}}, "online_params/Conv_0 is a int"),
        ({"online_params": {f"Conv_{i}": {} for i in range(5)}}, "Conv_0/kernel is missing"),
        ({"online_params": {f"Conv_{i}": {} for i in range(99)}}, "holds 99 layers"),
        ({"online_params": {}}, "holds 0 layers"),
        ({"online_params": {"Stack_0": {}}}, "online_params holds 'Stack_0'; expected"),
        ({"online_params": {"Conv_00": {}}}, "online_params holds 'Conv_00'"),
        ({"online_params": {7: {}}}, "online_params holds 'a int'"),
    ],
)
def test_a_pickle_of_something_else_is_refused(
    write_agent: Callable[..., Path], bundle: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        import_dopamine_agent(write_agent(bundle))


def test_a_target_network_of_other_sizes_is_refused(
    small_layers: Layers, write_agent: Callable[..., Path]
) -> None:
    bundle = bundle_of(small_layers)
    other = copy.deepcopy(small_layers)
    other["Dense_1"] = {"kernel": np.zeros((5, 4), np.float32), "bias": np.zeros(4, np.float32)}
    bundle["target_params"] = other
    with pytest.raises(ValueError, match="different shapes"):
        import_dopamine_agent(write_agent(bundle))


@pytest.mark.parametrize("steps", [np.int64(9), np.array(9), jnp.int32(9), 9])
def test_training_steps_may_be_a_scalar_of_any_library(
    small_layers: Layers, write_agent: Callable[..., Path], steps: Any
) -> None:
    agent = import_dopamine_agent(write_agent(bundle_of(small_layers) | {"training_steps": steps}))
    assert agent.training_steps == 9


@pytest.mark.parametrize("steps", [-1, 2.5, "many", [1], 2**300])
def test_training_steps_that_are_no_count_are_refused(
    small_layers: Layers, write_agent: Callable[..., Path], steps: Any
) -> None:
    bundle = bundle_of(small_layers) | {"training_steps": steps}
    with pytest.raises(ValueError, match="training_steps"):
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
    agent: str | None,
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
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        card_network = make_network(imported.network, imported.num_actions)
        state = np.zeros((1, 84, 84, 4), np.uint8)
        wanted = jax.eval_shape(card_network.init, jax.random.key(0), state)
        jax.tree.map(
            lambda w, f: np.testing.assert_equal(f.shape, w.shape), wanted, imported.online_params
        )


def test_a_truncated_checkpoint_says_to_copy_it_again(
    small_layers: Layers, write_agent: Callable[..., Path]
) -> None:
    file = write_agent(bundle_of(small_layers)) / "checkpoints/ckpt.7"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"ckpt\.7: truncated or damaged .* copy it again"):
        import_dopamine_agent(file)


@pytest.fixture
def tensorflow_agent(fixtures: Path, tmp_path: Path) -> Path:
    """The files of a TensorFlow agent without its replay, to change at will."""
    source = fixtures / "dopamine2.0.5_tf1/1/checkpoints"
    for file in (*source.glob("tf_ckpt-199.*"), source / "ckpt.199"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_a_tensorflow_agent_has_its_clock_from_the_pickle_beside_it(tensorflow_agent: Path) -> None:
    clock = load_safely(tensorflow_agent / "ckpt.199")["training_steps"]
    agent = import_dopamine_agent(tensorflow_agent)
    assert (agent.framework, agent.training_steps) == ("TensorFlow", clock)
    (tensorflow_agent / "ckpt.199").unlink()
    assert import_dopamine_agent(tensorflow_agent).training_steps is None


def test_a_pickle_of_python_2_beside_a_tensorflow_agent_is_left_alone(
    tensorflow_agent: Path,
) -> None:
    # Protocol 0, and hostile: run, it would print.
    (tensorflow_agent / "ckpt.199").write_bytes(b"cos\nsystem\n(S'echo run'\ntR.")
    assert import_dopamine_agent(tensorflow_agent).training_steps is None


def test_a_pickle_that_wants_to_run_something_spoils_a_tensorflow_agent(
    tensorflow_agent: Path,
) -> None:
    (tensorflow_agent / "ckpt.199").write_bytes(b"\x80\x03cos\nsystem\n.")
    with pytest.raises(ValueError, match="refused: the pickle asks for os.system"):
        import_dopamine_agent(tensorflow_agent)


def test_a_bundle_with_both_kinds_of_parameters_is_the_jax_agent_it_says(
    tensorflow_agent: Path, small_layers: Layers
) -> None:
    (tensorflow_agent / "ckpt.199").write_bytes(pickle.dumps(bundle_of(small_layers)))
    agent = import_dopamine_agent(tensorflow_agent)
    assert (agent.framework, agent.training_steps) == ("JAX", 1234)
