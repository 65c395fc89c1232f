"""A method and a network of one's own, added as docs/contributing.md says; the rest finds them.

What stands between the two lines below would be two files, beside an entry in each registry.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from rrl_agents.checkpoints.onnx_export import export_onnx
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.networks.inputs import network_input
from rrl_agents.networks.registry import (
    NETWORKS,
    NetworkConfig,
    action_values,
    initial_params,
    make_network,
)
from rrl_agents.networks.torsos import Torso
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import METHODS, Method, make_recipe
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.reincarnation.terms import (
    DistillationConfig,
    distillation_from_teacher,
    temporal_difference,
    with_distillation,
)
from rrl_agents.schedules.learning_rate import constant
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.objective import Term, TermInputs
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.training.train_state import initial_train_state
from rrl_agents.training.update_step import make_update_step
from rrl_agents.types import Params, Progress
from rrl_client import TeacherClient
from rrl_client.spec import PolicySpec
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import build_teacher
from tests.support.batches import batch_of
from tests.support.patience import PATIENCE_SECONDS

# rrl_agents/networks/NAME.py ----------------------------------------------------------------------


def normalised_vectors(
    observation: jax.Array, config: NetworkConfig, dtype: str | None = None
) -> jax.Array:
    """Layers with normalisation and a smooth activation; float32 [B, last of `features`]."""
    x = network_input(observation).reshape((observation.shape[0], -1))
    for units in config.features:
        x = nn.gelu(nn.LayerNorm(dtype=dtype)(nn.Dense(units, dtype=dtype)(x)))
    return x


# rrl_agents/reincarnation/NAME.py -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightedCloningConfig:
    """Settings of Q-learning that also imitates actions, the more the better they turned out."""

    q_learning: QLearningConfig = QLearningConfig(n_step=3)
    teaching: DistillationConfig = DistillationConfig()
    noise: float = 0.1
    learning_rate: float = 1e-3


def weighted_cloning(config: WeightedCloningConfig) -> Recipe:
    """Q-learning, distillation and cloning by advantage, from random weights."""

    def loss(seen: TermInputs) -> jax.Array:
        batch, rows = seen.batch, jnp.arange(len(seen.batch.action))
        future = jnp.max(seen.target.q_values, axis=-1)
        advantage = batch.n_step_return + batch.discount * future
        advantage += config.noise * jax.random.normal(seen.key, advantage.shape)
        log_policy = jax.nn.log_softmax(seen.online.q_values)
        return -jnp.clip(advantage, 0.0, 1.0) * log_policy[rows, batch.action]

    return Recipe(
        name="weighted_cloning",
        q_learning=config.q_learning,
        terms=(
            temporal_difference(),
            distillation_from_teacher(config.teaching),
            Term(name="cloning", loss=loss, weight=lambda progress: 1.0),
        ),
        learning_rate=constant(config.learning_rate),
    )


# --------------------------------------------------------------------------------------------------

ACTIONS = 3
SHAPE = (6, 1)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    torso = Torso(function=f"{__name__}:normalised_vectors")
    monkeypatch.setitem(NETWORKS, "normalised_vectors", torso)
    method = Method(
        config_class=WeightedCloningConfig, build=weighted_cloning, summary="imitates success"
    )
    monkeypatch.setitem(METHODS, "weighted_cloning", method)


def _network(head: str = "values") -> NetworkConfig:
    return NetworkConfig(
        name="normalised_vectors", features=(8, 8), hidden_units=16, head=head, num_atoms=5
    )


def _trained(head: str = "values") -> tuple[NetworkConfig, Params]:
    config = _network(head)
    recipe = make_recipe(METHODS["weighted_cloning"].config_class())
    learning = dataclasses.replace(STUDENTS["dqn"].learning, quantile_samples=4)
    network = make_network(config, ACTIONS)
    state = initial_train_state(
        initial_params(network, jax.random.key(0), SHAPE), recipe.q_learning.optimiser
    )
    before = jax.device_get(state.params)
    step = make_update_step(network, recipe.terms, recipe.q_learning.optimiser, learning)
    progress = Progress(random_return=0.0)
    weights = recipe.term_weights(progress, config, learning)
    batch = batch_of(SHAPE, ACTIONS, dtype="float32")
    state, metrics = step(
        state, batch, weights, recipe.learning_rate(progress), 100, jax.random.key(1)
    )
    assert set(metrics.term_losses) == {"td", "distillation", "cloning"}
    assert np.isfinite(metrics.loss) and metrics.term_losses["cloning"] > 0.0
    params: Params = jax.device_get(state.params)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), params, before)
    assert all(jax.tree.leaves(moved)), moved
    return config, params


def _saved(path: Path, config: NetworkConfig, params: Params) -> None:
    card = TeacherCard(
        name="mine",
        game="vectors",
        network=config,
        num_actions=ACTIONS,
        observation_shape=SHAPE,
        observation_dtype="float32",
        made="by one update",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    save_teacher(path, params, card)


def _states() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("head", ["values", "categorical", "quantile", "implicit_quantile"])
def test_one_trains_the_new_network_by_the_new_method_and_exports_it(head: str) -> None:
    config, params = _trained(head)
    spec = PolicySpec(num_actions=ACTIONS, observation_shape=SHAPE, observation_dtype="float32")
    model = export_onnx(config, params, spec)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(["action_values"], {"observations": _states()})
    expected = action_values(make_network(config, ACTIONS), params, jnp.asarray(_states()))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["jax", "onnx"])
def test_its_card_is_saved_loaded_and_served(backend: str, tmp_path: Path) -> None:
    config, params = _trained()
    _saved(tmp_path / "mine", config, params)
    loaded = load_teacher_directory(tmp_path / "mine")
    assert loaded.card.network == config
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
    server = build_teacher(
        TeacherConfig(
            models=(ModelConfig(name="mine", reference=str(tmp_path / "mine")),),
            backend=backend,
            port=0,
            metrics_port=None,
            batching=BatchingConfig(buckets=(1, 8)),
        )
    )
    server.start()
    try:
        server.wait_until_ready(PATIENCE_SECONDS)
        with TeacherClient(server.address, model="mine") as client:
            found = client.evaluate(_states()).action_values
    finally:
        server.stop()
    expected = action_values(make_network(config, ACTIONS), params, jnp.asarray(_states()))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_each_term_of_each_update_has_a_key_of_its_own() -> None:
    keys = []

    def loss(seen: TermInputs) -> jax.Array:
        return jax.random.normal(seen.key, seen.td_loss.shape)

    terms = tuple(Term(name=name, loss=loss, weight=lambda progress: 1.0) for name in "ab")
    network = make_network(_network(), ACTIONS)
    recipe = make_recipe(METHODS["weighted_cloning"].config_class())
    optimiser = recipe.q_learning.optimiser
    step = make_update_step(network, terms, optimiser, STUDENTS["dqn"].learning)
    state = initial_train_state(initial_params(network, jax.random.key(0), SHAPE), optimiser)
    batch = batch_of(SHAPE, ACTIONS, dtype="float32")
    for _ in range(2):
        state, metrics = step(state, batch, {"a": 0.0, "b": 0.0}, 1e-3, 10, jax.random.key(1))
        keys += [float(loss) for loss in metrics.term_losses.values()]
    assert len(set(keys)) == 4


def test_its_distillation_is_suited_to_the_teacher_whatever_field_holds_it() -> None:
    def softened(settings: DistillationConfig) -> DistillationConfig:
        return dataclasses.replace(settings, teacher_temperature=2.0)

    config = with_distillation(WeightedCloningConfig(noise=0.2), softened)
    assert config.teaching.teacher_temperature == 2.0 and config.noise == 0.2
    assert with_distillation(TabulaRasaConfig(), softened) == TabulaRasaConfig()
