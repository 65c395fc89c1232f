"""Agents of Stable-Baselines3, CleanRL and PyTorch: imported, they score as their library did."""

from __future__ import annotations

import base64
import json
import os
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rrl_agents.checkpoints.hints import Hints, LeftOpen
from rrl_agents.checkpoints.import_other_agent import import_other_agent
from rrl_agents.checkpoints.onnx_export import export_onnx
from rrl_agents.networks.config import NetworkConfig
from services.library.teacher_references import import_reference
from services.shared.errors import UserError
from services.teacher.policies.loading import load_policy
from tests.support.other_agents import (
    OTHER_AGENTS,
    changed,
    check_scores,
    model_file,
    torch_file,
    torch_tensor,
)

# name: what the card must say of the network and its scores
AGENTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "cleanrl_dqn_cart_pole": ({"name": "mlp", "features": (120, 84)}, "q_values", "DQN"),
    "cleanrl_dqn_jax_cart_pole": ({"name": "mlp", "features": (120, 84)}, "q_values", "DQN"),
    "cleanrl_c51_cart_pole": (
        {"head": "categorical", "num_atoms": 101, "value_bound": 100.0},
        "q_values",
        "C51",
    ),
    "cleanrl_c51_jax_cart_pole": (
        {"head": "categorical", "num_atoms": 101, "value_bound": 100.0},
        "q_values",
        "C51",
    ),
    "cleanrl_ppo_cart_pole": ({"features": (64, 64), "activation": "tanh"}, "logits", "PPO"),
    "cleanrl_dqn_atari": ({"name": "nature_cnn", "padding": "VALID"}, "q_values", "DQN"),
    "cleanrl_dqn_atari_jax": ({"name": "nature_cnn", "padding": "VALID"}, "q_values", "DQN"),
    "cleanrl_c51_atari": ({"head": "categorical", "num_atoms": 51}, "q_values", "C51"),
    "cleanrl_c51_atari_jax": ({"head": "categorical", "num_atoms": 51}, "q_values", "C51"),
    "cleanrl_ppo_atari": ({"name": "nature_cnn", "hidden_units": 512}, "logits", "PPO"),
    "cleanrl_ppo_atari_jax": ({"name": "nature_cnn", "hidden_units": 512}, "logits", "PPO"),
    "cleanrl_qdagger_atari": (
        {"name": "impala_cnn", "hidden_units": 256, "pool_padding": "SYMMETRIC"},
        "q_values",
        "DQN",
    ),
    "cleanrl_qdagger_atari_jax": (
        {"name": "impala_cnn", "hidden_units": 256, "pool_padding": "SAME"},
        "q_values",
        "DQN",
    ),
    "sb3_dqn_cart_pole": ({"features": (16, 24), "activation": "relu"}, "q_values", "DQN"),
    "sb3_qrdqn_cart_pole": ({"head": "quantile", "num_atoms": 7}, "q_values", "QR-DQN"),
    "sb3_ppo_cart_pole": ({"features": (64, 64), "activation": "tanh"}, "logits", "PPO"),
    "sb3_a2c_cart_pole": ({"features": (12, 20, 8), "activation": "relu"}, "logits", "A2C"),
    "sb3_ppo_lunar_lander": ({"features": (64, 64), "activation": "tanh"}, "logits", "PPO"),
    "sb3_dqn_bytes": ({"name": "mlp"}, "q_values", "DQN"),
    "sb3_dqn_images": ({"name": "nature_cnn", "hidden_units": 32}, "q_values", "DQN"),
    "sb3_ppo_images": ({"name": "nature_cnn", "hidden_units": 32}, "logits", "PPO"),
}

# Weights alone do not say what their outputs are.
OPEN = {"torch_nature_cnn": Hints(agent="dqn")}


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_scores_as_its_library_did(name: str, tmp_path: Path) -> None:
    network, output, algorithm = AGENTS[name]
    teacher = import_other_agent(model_file(name, tmp_path), Hints())
    check_scores(teacher, name)
    card = teacher.card
    assert {key: getattr(card.network, key) for key in network} == network
    assert (card.output, card.algorithm) == (output, algorithm)
    assert card.temperature == (1.0 if output == "logits" else None)


def test_every_recorded_model_is_compared() -> None:
    recorded = {folder.name for folder in OTHER_AGENTS.iterdir() if folder.is_dir()}
    assert recorded - {"__pycache__"} == {*AGENTS, *OPEN}


def test_a_state_dict_scores_as_pytorch_did_once_the_user_says_what_it_is(tmp_path: Path) -> None:
    model = model_file("torch_nature_cnn", tmp_path)
    with pytest.raises(LeftOpen, match="OUTPUT is q_values or logits"):
        import_other_agent(model, Hints())
    teacher = import_other_agent(model, Hints(agent="dqn"))
    check_scores(teacher, "torch_nature_cnn")
    as_logits = import_other_agent(model, Hints(output="logits"))
    assert (as_logits.card.output, as_logits.card.temperature) == ("logits", 1.0)
    with pytest.raises(ValueError, match=r"model.pth: it has 6 actions, not the 4 given"):
        import_other_agent(model, Hints(agent="dqn", num_actions=4))


def test_a_packed_file_is_read_as_it_is(tmp_path: Path) -> None:
    packed = OTHER_AGENTS / "torch_nature_cnn" / "model.pth.gz"
    plain = import_other_agent(model_file("torch_nature_cnn", tmp_path), OPEN["torch_nature_cnn"])
    read = import_other_agent(packed, OPEN["torch_nature_cnn"])
    assert read.card.parameters_sha256 == plain.card.parameters_sha256


def test_the_card_says_what_the_file_does(tmp_path: Path) -> None:
    card = import_other_agent(model_file("cleanrl_c51_atari", tmp_path), Hints()).card
    assert (card.game, card.num_actions) == ("Breakout", 6)
    assert card.made == "imported from a model that CleanRL saved, after 10000000 training steps"
    # How many frames a step lasted is not in the file.
    assert card.compute is not None and card.compute.environment_frames is None
    card = import_other_agent(model_file("cleanrl_c51_cart_pole", tmp_path), Hints()).card
    assert (card.game, card.name) == ("CartPole-v1", "model, CleanRL C51")
    assert card.compute is not None and card.compute.environment_frames == 1200


def test_a_trained_agent_still_plays_well(tmp_path: Path) -> None:
    """Its own library has it at 232 in the mean at this temperature; landing counts from 200 on."""
    model = OTHER_AGENTS / "sb3_ppo_lunar_lander" / "model.zip"
    said = Hints(game="LunarLander-v3", temperature=0.25)
    policy = load_policy(str(import_reference(str(model), said, store=tmp_path)), buckets=(1,))
    environment, random = gymnasium.make("LunarLander-v3"), np.random.default_rng(0)
    returns = []
    for seed in range(4):
        state, _ = environment.reset(seed=seed)
        returns.append(0.0)
        has_ended = False
        while not has_ended:
            logits = policy.evaluate(state[None])[0] / 0.25
            action = int(np.argmax(logits + random.gumbel(size=logits.shape)))
            state, reward, terminated, truncated, _ = environment.step(action)
            returns[-1] += float(reward)
            has_ended = terminated or truncated
    environment.close()
    assert np.mean(returns) > 200, returns


@pytest.mark.parametrize("name", ["sb3_ppo_cart_pole", "cleanrl_qdagger_atari", "sb3_dqn_images"])
def test_its_network_is_written_as_onnx_like_any_other(name: str, tmp_path: Path) -> None:
    import onnxruntime

    teacher = import_other_agent(model_file(name, tmp_path), Hints())
    assert teacher.card.network is not None
    encoded = export_onnx(teacher.card.network, teacher.params, teacher.card.spec)
    session = onnxruntime.InferenceSession(encoded, providers=["CPUExecutionProvider"])
    with np.load(OTHER_AGENTS / name / "expected.npz") as arrays:
        (found,) = session.run(None, {session.get_inputs()[0].name: arrays["observations"]})
        scale = np.abs(arrays["scores"]).max()
        np.testing.assert_allclose(found, arrays["scores"], rtol=0, atol=1e-5 * max(1, scale))


def test_through_the_door_it_becomes_a_directory_that_is_served(tmp_path: Path) -> None:
    model = OTHER_AGENTS / "sb3_ppo_cart_pole" / "model.zip"
    said = Hints(game="CartPole-v1", temperature=0.5)
    directory = import_reference(str(model), said, name="CartPole-v1/ppo", store=tmp_path)
    assert sorted(file.name for file in directory.iterdir()) == [
        "README.md",
        "card.json",
        "params.safetensors",
    ]
    policy = load_policy(str(directory), buckets=(1, 8))
    assert (policy.info.name, policy.info.game) == ("ppo", "CartPole-v1")
    assert policy.info.spec.temperature == 0.5
    with np.load(model.parent / "expected.npz") as arrays:
        found = policy.evaluate(arrays["observations"])
        np.testing.assert_allclose(found, arrays["scores"], rtol=0, atol=1e-5)


def test_what_is_left_open_ends_in_the_command_that_says_it(tmp_path: Path) -> None:
    model = model_file("torch_nature_cnn", tmp_path)
    with pytest.raises(UserError, match=r"rrl teacher import .*model.pth --output=OUTPUT$"):
        import_reference(str(model), store=tmp_path / "store")
    directory = import_reference(str(model), Hints(output="q_values"), store=tmp_path / "store")
    assert load_policy(str(directory), buckets=(1,)).info.spec.num_actions == 6


def test_pickles_among_the_settings_are_not_looked_at(tmp_path: Path) -> None:
    """Stable-Baselines3 itself would run them when it loads the model."""

    class Asks:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    def with_hostile_pickles(data: bytes) -> bytes:
        settings = json.loads(data)
        hostile = base64.b64encode(pickle.dumps(Asks())).decode()
        for value in settings.values():
            if isinstance(value, dict) and ":serialized:" in value:
                value[":serialized:"] = hostile
        return json.dumps(settings).encode()

    content = (OTHER_AGENTS / "sb3_a2c_cart_pole" / "model.zip").read_bytes()
    model = tmp_path / "model.zip"
    model.write_bytes(changed(content, data=with_hostile_pickles))
    check_scores(import_other_agent(model, Hints()), "sb3_a2c_cart_pole")
    assert not (tmp_path / "ran").exists()


def edited(name: str, setting: str, **entries: Any) -> bytes:
    """A model of Stable-Baselines3 with some text of one of its settings changed."""

    def edit(data: bytes) -> bytes:
        settings = json.loads(data)
        settings[setting] = {**(settings[setting] or {}), **entries}
        return json.dumps(settings).encode()

    return changed((OTHER_AGENTS / name / "model.zip").read_bytes(), data=edit)


@pytest.mark.parametrize(
    ("setting", "entries", "message"),
    [
        ("action_space", {":type:": "<class 'gymnasium.spaces.box.Box'>"}, "its actions are Box"),
        ("action_space", {"start": "3"}, "beginning with 3; teachers have .* from 0 on"),
        ("observation_space", {":type:": "<class 'a.Dict'>"}, "its observations are Dict"),
        ("observation_space", {"_shape": "[2, 2]"}, r"observations have shape \[2, 2\]"),
        ("observation_space", {"_shape": "[5]"}, r"observations of shape \(5,\)"),
        (
            "policy_kwargs",
            {"features_extractor_class": "<class 'me.Mine'>"},
            "features come from <class 'me.Mine'>; NatureCNN and",
        ),
        ("policy_kwargs", {"activation_fn": "<class 'torch.nn.ELU'>"}, "activation is .*ELU"),
        ("policy_kwargs", {"normalize_images": False}, "normalize_images=False"),
    ],
)
def test_what_computes_something_else_is_refused(
    tmp_path: Path, setting: str, entries: dict[str, Any], message: str
) -> None:
    model = tmp_path / "model.zip"
    model.write_bytes(edited("sb3_ppo_cart_pole", setting, **entries))
    with pytest.raises(ValueError, match=rf"model.zip: .*{message}"):
        import_other_agent(model, Hints())


def perceptron(**layers: tuple[int, int]) -> bytes:
    """A file of linear layers [outputs, inputs] with random weights."""
    random = np.random.default_rng(0)
    weights, storages = {}, {}
    for name, (outputs, inputs) in layers.items():
        for leaf, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            key = str(len(storages))
            weights[f"{name}.{leaf}"] = torch_tensor(shape, key=key)
            storages[key] = random.normal(size=shape).astype(np.float32)
    return torch_file(weights, storages)


def imported(tmp_path: Path, content: bytes, **hints: Any) -> Any:
    model = tmp_path / "model.pt"
    model.write_bytes(content)
    return import_other_agent(model, Hints(**hints))


def test_a_perceptron_alone_says_neither_its_outputs_nor_its_activation(tmp_path: Path) -> None:
    content = perceptron(first=(5, 3), last=(2, 5))
    with pytest.raises(LeftOpen, match="OUTPUT"):
        imported(tmp_path, content)
    with pytest.raises(LeftOpen, match="ACTIVATION is relu or tanh"):
        imported(tmp_path, content, output="q_values")
    card = imported(tmp_path, content, output="q_values", activation="tanh").card
    assert card.network == NetworkConfig(name="mlp", features=(5,), activation="tanh")
    assert (card.observation_shape, card.observation_dtype) == ((3,), "float32")


def test_the_critic_and_the_target_are_left_out(tmp_path: Path) -> None:
    layers = {"actor_0": (5, 3), "critic_0": (7, 3), "actor_1": (2, 5), "critic_1": (1, 7)}
    card = imported(tmp_path, perceptron(**layers), activation="relu").card
    assert (card.output, card.num_actions, card.network.features) == ("logits", 2, (5,))
    layers = {"net_0": (5, 3), "net_1": (2, 5), "target_0": (5, 3), "target_1": (2, 5)}
    card = imported(tmp_path, perceptron(**layers), activation="relu", agent="dqn").card
    assert (card.output, card.num_actions, card.network.features) == ("q_values", 2, (5,))


def test_the_user_says_what_a_lone_last_layer_is(tmp_path: Path) -> None:
    content = perceptron(only=(204, 3))
    card = imported(tmp_path, content, agent="c51", value_bound=20.0).card
    assert (card.num_actions, card.network.head, card.network.num_atoms) == (4, "categorical", 51)
    assert card.network.value_bound == 20.0
    assert (
        imported(tmp_path, content, agent="quantile", num_actions=2).card.network.num_atoms == 102
    )


def test_what_the_user_says_against_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the agent is dqn, c51, quantile, not 'iqn'"):
        imported(tmp_path, perceptron(only=(4, 3)), agent="iqn")
    for name in ("sb3_dqn_cart_pole", "cleanrl_dqn_jax_cart_pole", "cleanrl_dqn_cart_pole"):
        for said in (Hints(agent="c51"), Hints(activation="tanh")):
            with pytest.raises(ValueError, match="the file says agent and activation itself"):
                import_other_agent(model_file(name, tmp_path), said)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"first": (5, 3), "last": (2, 4)}, "last does not take what first gives"),
        ({"value": (5, 3), "advantage": (2, 4)}, "dueling"),
    ],
)
def test_layers_that_are_no_network_are_named(
    tmp_path: Path, layers: dict[str, tuple[int, int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        imported(tmp_path, perceptron(**layers), output="q_values", activation="relu")


def test_other_layers_and_other_files_are_named(tmp_path: Path) -> None:
    shape = {"norm.running_mean": torch_tensor((4,)), "norm.weight": torch_tensor((4,))}
    with pytest.raises(ValueError, match="'norm.running_mean' is not a weight or bias"):
        imported(tmp_path, torch_file(shape, {"0": np.zeros(4, np.float32)}), output="q_values")
    with pytest.raises(ValueError, match=r"'only.weight' has shape \(4,\)"):
        content = torch_file({"only.weight": torch_tensor((4,))}, {"0": np.zeros(4, np.float32)})
        imported(tmp_path, content, output="q_values")
    with pytest.raises(ValueError, match="no model of Stable-Baselines3"):
        imported(tmp_path, b"\x80\x02some old pickle")
    with pytest.raises(ValueError, match="it holds no weights; save those"):
        imported(tmp_path, torch_file({}, {}))
