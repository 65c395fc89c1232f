"""The update: against Dopamine's own, and by what it promises."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dopamine.jax import networks
from dopamine.jax.agents.dqn import dqn_agent
from dopamine.jax.agents.full_rainbow import full_rainbow_agent
from dopamine.jax.agents.quantile import quantile_agent

from rrl_agents.networks.registry import NetworkConfig, initial_params, make_network
from rrl_agents.reincarnation.terms import (
    DistillationConfig,
    distillation_from_teacher,
    temporal_difference,
)
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.train_state import (
    OptimiserConfig,
    TrainState,
    initial_train_state,
    make_optimiser,
    sync_target,
)
from rrl_agents.training.update_step import UpdateStep, make_update_step
from rrl_agents.types import Batch
from tests.support.batches import batch_of

ADAM = OptimiserConfig()
DQN = StudentConfig()
KEY = jax.random.key(7)
TD = temporal_difference()
DISTILLATION = distillation_from_teacher(DistillationConfig(temperature=0.1))
SMALL_IMAGES = (12, 12, 2)
NETWORK = make_network(NetworkConfig(name="mlp", features=(16,)), 3)


def _state(seed: int = 0) -> TrainState:
    return initial_train_state(initial_params(NETWORK, jax.random.key(seed), (10, 5, 1)), ADAM)


def _target_apart(params: Any, target: Any) -> TrainState:
    state = initial_train_state(params, ADAM)
    return state._replace(target_params=jax.tree.map(jnp.copy, target))  # It is given away.


def _assert_equal_trees(left: Any, right: Any, *, rtol: float, atol: float = 0.0) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), left, right)


def _as_dopamine_takes_them(batch: Batch) -> tuple[Any, ...]:
    ends = (batch.discount == 0.0).astype(np.float32)
    states = (batch.observation, batch.action, batch.next_observation)
    return (*states, batch.n_step_return, ends)


def _assert_same_update(
    update_step: UpdateStep, params: Any, target: Any, batch: Batch, theirs: tuple[Any, Any, Any]
) -> None:
    """One update at the rate 1e-3 beside Dopamine's parameters, row losses and mean loss."""
    online, row_losses, mean_loss = theirs
    state, metrics = update_step(_target_apart(params, target), batch, {"td": 1.0}, 1e-3, 2000, KEY)
    assert metrics.loss == pytest.approx(float(mean_loss), rel=1e-4)
    np.testing.assert_allclose(metrics.priorities, row_losses, rtol=1e-4, atol=1e-5)
    _assert_equal_trees(state.params, online, rtol=1e-3, atol=5e-6)


def test_plain_q_learning_updates_as_dopamine_does() -> None:
    """Two Huber updates of Dopamine's Nature DQN, target network apart from the online one."""
    theirs = networks.NatureDQNNetwork(num_actions=4)
    ours = make_network(NetworkConfig(), 4)
    keys = jax.random.split(jax.random.key(0))
    params, target = (initial_params(ours, key, (84, 84, 4)) for key in keys)
    optimiser = dqn_agent.create_optimizer("adam", learning_rate=6.25e-5, eps=1.5e-4)
    online, moments = params, optimiser.init(params)
    state = _target_apart(params, target)
    update_step = make_update_step(ours, (TD,), ADAM, DQN)
    for seed in range(2):
        batch = batch_of((84, 84, 4), 4, seed=seed)
        moments, online, loss = dqn_agent.train(
            theirs,
            online,
            target,
            optimiser,
            moments,
            *_as_dopamine_takes_them(batch),
            0.97,
            "huber",
        )
        state, metrics = update_step(state, batch, {"td": 1.0}, 6.25e-5, 2000, KEY)
        assert metrics.loss == pytest.approx(float(loss), rel=1e-4)
    _assert_equal_trees(state.params, online, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("is_distributional", [True, False], ids=["rainbow", "efficient dqn"])
def test_weighted_dueling_double_students_update_as_dopamines(is_distributional: bool) -> None:
    """Dopamine's full Rainbow without noise, with importance weights: one update."""
    atoms = 11 if is_distributional else 1
    theirs = networks.FullRainbowNetwork(
        num_actions=3, num_atoms=atoms, noisy=False, distributional=is_distributional
    )
    head = "categorical" if is_distributional else "values"
    config = NetworkConfig(head=head, num_atoms=atoms, value_bound=2.0, dueling=True)
    ours = make_network(config, 3)
    params, target = (
        theirs.init(key, np.zeros(SMALL_IMAGES, np.uint8), support=jnp.zeros(atoms), key=key)
        for key in jax.random.split(jax.random.PRNGKey(0))
    )
    batch = batch_of(SMALL_IMAGES, 3)._replace(
        importance_weight=np.linspace(0.2, 1.0, 8, dtype=np.float32)
    )
    optimiser = dqn_agent.create_optimizer("adam", learning_rate=1e-3, eps=1.5e-4)
    _, online, row_losses, mean_loss, _ = full_rainbow_agent.train(
        theirs,
        params,
        target,
        optimiser,
        optimiser.init(params),
        *_as_dopamine_takes_them(batch),
        batch.importance_weight,
        jnp.linspace(-2.0, 2.0, atoms),
        0.97,
        True,
        is_distributional,
        False,
        jax.random.PRNGKey(1),
    )
    update_step = make_update_step(ours, (TD,), ADAM, StudentConfig(double=True))
    _assert_same_update(update_step, params, target, batch, (online, row_losses, mean_loss))


def test_a_quantile_student_updates_as_dopamines() -> None:
    theirs = networks.QuantileNetwork(num_actions=3, num_atoms=5)
    ours = make_network(NetworkConfig(head="quantile", num_atoms=5), 3)
    params, target = (
        theirs.init(key, np.zeros(SMALL_IMAGES, np.uint8))
        for key in jax.random.split(jax.random.PRNGKey(0))
    )
    batch = batch_of(SMALL_IMAGES, 3)
    optimiser = dqn_agent.create_optimizer("adam", learning_rate=1e-3, eps=1.5e-4)
    _, online, row_losses, mean_loss = quantile_agent.train(
        theirs,
        params,
        target,
        optimiser,
        optimiser.init(params),
        *_as_dopamine_takes_them(batch),
        1.0,
        5,
        0.97,
    )
    update_step = make_update_step(ours, (TD,), ADAM, DQN)
    _assert_same_update(update_step, params, target, batch, (online, row_losses, mean_loss))


def test_the_gradient_is_that_of_both_terms_together() -> None:
    """Against optax.adam and the loss written out as in the paper."""
    batch = batch_of((10, 5, 1), 3)
    state = _state()

    def paper_loss(params: Any) -> Any:
        q: Any = NETWORK.apply(params, batch.observation)
        q_t: Any = NETWORK.apply(state.params, batch.next_observation)
        target = batch.n_step_return + batch.discount * jnp.max(q_t, axis=1)
        td = optax.losses.huber_loss(q[jnp.arange(8), batch.action], jax.lax.stop_gradient(target))
        p = jax.nn.softmax(batch.teacher_outputs / 0.1)
        kl = jnp.sum(p * (jnp.log(p + 1e-30) - jax.nn.log_softmax(q / 0.1)), axis=1)
        return jnp.mean(td) + 0.6 * 3.0 * jnp.mean(kl)

    optimiser = optax.adam(1e-4, eps=1.5e-4)
    updates, _ = optimiser.update(jax.grad(paper_loss)(state.params), optimiser.init(state.params))
    expected = optax.apply_updates(state.params, updates)
    update_step = make_update_step(NETWORK, (TD, DISTILLATION), ADAM, DQN)
    weights = {"td": 1.0, "distillation": 0.6 * 3.0}
    with jax.numpy_rank_promotion("raise"):
        actual, metrics = update_step(state, batch, weights, 1e-4, 2000, KEY)
    _assert_equal_trees(actual.params, expected, rtol=1e-5, atol=1e-7)
    total = metrics.term_losses["td"] + 1.8 * metrics.term_losses["distillation"]
    assert metrics.loss == pytest.approx(float(total), rel=1e-5)


def test_changing_weights_rates_periods_and_keys_compiles_nothing() -> None:
    update_step: Any = make_update_step(NETWORK, (TD, DISTILLATION), ADAM, DQN)
    state, batch = _state(), batch_of((10, 5, 1), 3)
    for i in range(5):
        weights = {"td": np.float32(1.0), "distillation": np.float32(3.0 - 0.5 * i)}
        rate, period, key = np.float32(1e-4 / (i + 1)), np.int32(7 + i), jax.random.key(i)
        state, _ = update_step(state, batch, weights, rate, period, key)
    assert update_step._cache_size() == 1


def test_the_target_network_follows_on_its_period() -> None:
    update_step = make_update_step(NETWORK, (TD,), ADAM, DQN)
    state, batch = _state(), batch_of((10, 5, 1), 3)
    kept = jax.tree.map(np.array, state.params)
    for update in range(1, 7):
        state, _ = update_step(state, batch, {"td": 1.0}, 1e-3, 3, KEY)
        assert int(state.learner_updates) == update
        if update % 3 == 0:
            kept = jax.tree.map(np.array, state.params)
        _assert_equal_trees(state.target_params, kept, rtol=0)


def test_what_was_read_of_a_state_outlives_its_update() -> None:
    # Trees are donated: shared buffers would be an error.
    params = initial_params(NETWORK, jax.random.key(0), (10, 5, 1))
    update_step = make_update_step(NETWORK, (TD,), ADAM, DQN)
    batch = batch_of((10, 5, 1), 3)
    state, _ = update_step(initial_train_state(params, ADAM), batch, {"td": 1.0}, 1e-2, 1000, KEY)
    synced = sync_target(state)
    _assert_equal_trees(synced.target_params, synced.params, rtol=0)
    published = jax.device_get(synced.params)
    copy = jax.tree.map(np.array, published)
    state, _ = update_step(synced, batch, {"td": 1.0}, 1e-2, 1000, KEY)
    assert int(state.learner_updates) == 2
    _assert_equal_trees(published, copy, rtol=0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("centered", [True, False])
def test_rmsprop_steps_as_dopamines(centered: bool) -> None:
    """Three updates beside the optimiser that Dopamine would make of the same numbers."""
    theirs = dqn_agent.create_optimizer(
        "rmsprop", learning_rate=1e-3, beta2=0.95, eps=1e-5, centered=centered
    )
    ours = OptimiserConfig(name="rmsprop", beta2=0.95, epsilon=1e-5, centered=centered)
    params = initial_params(NETWORK, jax.random.key(0), (10, 5, 1))
    state, direction = initial_train_state(params, ours).opt_state, make_optimiser(ours)
    their_state = theirs.init(params)
    for i in range(3):
        gradient = jax.tree.map(lambda leaf, i=i: jnp.sin(leaf * (i + 1)), params)
        step, state = direction.update(gradient, state)
        their_step, their_state = theirs.update(gradient, their_state)
        _assert_equal_trees(
            jax.tree.map(lambda leaf: -1e-3 * leaf, step), their_step, rtol=1e-5, atol=1e-9
        )
