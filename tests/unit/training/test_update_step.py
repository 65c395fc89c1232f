"""The update: against Dopamine's own, and by what it promises."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rrl_agents.networks.registry import NetworkConfig, initial_params, make_network
from rrl_agents.reincarnation.terms import distillation_from_teacher, n_step_q_learning
from rrl_agents.training.train_state import (
    AdamConfig,
    TrainState,
    initial_train_state,
    sync_target,
)
from rrl_agents.training.update_step import make_update_step
from rrl_agents.types import Batch

ADAM = AdamConfig()
TD = n_step_q_learning()
DISTILLATION = distillation_from_teacher(
    temperature=0.1, coefficient=3.0, weight=lambda progress: progress.weaning_weight
)
NETWORK = make_network(NetworkConfig(name="mlp", features=(16,)), 3)


def _batch(shape: tuple[int, ...], num_actions: int, seed: int = 0) -> Batch:
    generator = np.random.default_rng(seed)
    size = 8
    return Batch(
        observation=generator.integers(0, 256, (size, *shape), dtype=np.uint8),
        action=generator.integers(0, num_actions, size, dtype=np.int32),
        n_step_return=generator.normal(scale=3, size=size).astype(np.float32),
        discount=generator.choice([0.0, 0.97], size).astype(np.float32),
        next_observation=generator.integers(0, 256, (size, *shape), dtype=np.uint8),
        teacher_q=generator.normal(size=(size, num_actions)).astype(np.float32),
        has_teacher=np.ones(size, np.float32),
        importance_weight=np.ones(size, np.float32),
    )


def _state(seed: int = 0) -> TrainState:
    return initial_train_state(initial_params(NETWORK, jax.random.key(seed), (10, 5, 1)), ADAM)


def _assert_equal_trees(left: Any, right: Any, *, rtol: float, atol: float = 0.0) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), left, right)


def test_plain_q_learning_updates_as_dopamine_does() -> None:
    """Two Huber updates of Dopamine's Nature DQN, target network apart from the online one."""
    networks = pytest.importorskip("dopamine.jax.networks")
    dqn_agent = pytest.importorskip("dopamine.jax.agents.dqn.dqn_agent")
    theirs = networks.NatureDQNNetwork(num_actions=4)
    ours = make_network(NetworkConfig(), 4)
    keys = jax.random.split(jax.random.key(0))
    params, target = (initial_params(ours, key, (84, 84, 4)) for key in keys)
    optimiser = dqn_agent.create_optimizer("adam", learning_rate=6.25e-5, eps=1.5e-4)
    online, moments = params, optimiser.init(params)
    state = initial_train_state(params, ADAM)
    state = state._replace(target_params=jax.tree.map(jnp.copy, target))  # It is given away.
    update_step = make_update_step(ours, (TD,), ADAM)
    for seed in range(2):
        batch = _batch((84, 84, 4), 4, seed)
        moments, online, loss = dqn_agent.train(
            theirs,
            online,
            target,
            optimiser,
            moments,
            batch.observation,
            batch.action,
            batch.next_observation,
            batch.n_step_return,
            (batch.discount == 0.0).astype(np.float32),
            0.97,
            "huber",
        )
        state, metrics = update_step(state, batch, {"td": 1.0}, 6.25e-5, 2000)
        assert metrics.loss == pytest.approx(float(loss), rel=1e-4)
    _assert_equal_trees(state.params, online, rtol=1e-3, atol=2e-6)


def test_the_gradient_is_that_of_both_terms_together() -> None:
    """Against optax.adam and the loss written out as in the paper."""
    batch = _batch((10, 5, 1), 3)
    state = _state()

    def paper_loss(params: Any) -> Any:
        q: Any = NETWORK.apply(params, batch.observation)
        q_t: Any = NETWORK.apply(state.params, batch.next_observation)
        target = batch.n_step_return + batch.discount * jnp.max(q_t, axis=1)
        td = optax.losses.huber_loss(q[jnp.arange(8), batch.action], jax.lax.stop_gradient(target))
        p = jax.nn.softmax(batch.teacher_q / 0.1)
        kl = jnp.sum(p * (jnp.log(p + 1e-30) - jax.nn.log_softmax(q / 0.1)), axis=1)
        return jnp.mean(td) + 0.6 * 3.0 * jnp.mean(kl)

    optimiser = optax.adam(1e-4, eps=1.5e-4)
    updates, _ = optimiser.update(jax.grad(paper_loss)(state.params), optimiser.init(state.params))
    expected = optax.apply_updates(state.params, updates)
    update_step = make_update_step(NETWORK, (TD, DISTILLATION), ADAM)
    weights = {"td": 1.0, "distillation": 0.6 * 3.0}
    with jax.numpy_rank_promotion("raise"):
        actual, metrics = update_step(state, batch, weights, 1e-4, 2000)
    _assert_equal_trees(actual.params, expected, rtol=1e-5, atol=1e-7)
    total = metrics.term_losses["td"] + 1.8 * metrics.term_losses["distillation"]
    assert metrics.loss == pytest.approx(float(total), rel=1e-5)


def test_changing_weights_rates_and_periods_compiles_nothing() -> None:
    update_step: Any = make_update_step(NETWORK, (TD, DISTILLATION), ADAM)
    state, batch = _state(), _batch((10, 5, 1), 3)
    for i in range(5):
        weights = {"td": np.float32(1.0), "distillation": np.float32(3.0 - 0.5 * i)}
        state, _ = update_step(state, batch, weights, np.float32(1e-4 / (i + 1)), np.int32(7 + i))
    assert update_step._cache_size() == 1


def test_the_target_network_follows_on_its_period() -> None:
    update_step = make_update_step(NETWORK, (TD,), ADAM)
    state, batch = _state(), _batch((10, 5, 1), 3)
    initial = jax.device_get(state.params)
    for update in range(1, 7):
        state, _ = update_step(state, batch, {"td": 1.0}, 1e-3, 3)
        assert int(state.learner_updates) == update
        if update < 3:
            _assert_equal_trees(state.target_params, initial, rtol=0)
        if update % 3 == 0:
            kept = jax.tree.map(np.array, state.params)
            _assert_equal_trees(state.target_params, kept, rtol=0)
        elif update > 3:
            _assert_equal_trees(state.target_params, kept, rtol=0)


def test_the_state_can_be_updated_after_its_target_was_synced() -> None:
    # Both trees are donated: shared buffers would be an error.
    update_step = make_update_step(NETWORK, (TD,), ADAM)
    batch = _batch((10, 5, 1), 3)
    state, _ = update_step(_state(), batch, {"td": 1.0}, 1e-3, 1000)
    synced = sync_target(state)
    _assert_equal_trees(synced.target_params, synced.params, rtol=0)
    state, _ = update_step(synced, batch, {"td": 1.0}, 1e-3, 1000)
    assert int(state.learner_updates) == 2


def test_weights_read_before_an_update_do_not_change_with_it() -> None:
    update_step = make_update_step(NETWORK, (TD,), ADAM)
    batch = _batch((10, 5, 1), 3)
    state = _state()
    published = jax.device_get(state.params)
    copy = jax.tree.map(np.array, published)
    for _ in range(3):
        state, _ = update_step(state, batch, {"td": 1.0}, 1e-2, 1000)
    _assert_equal_trees(published, copy, rtol=0)


def test_the_initial_parameters_outlive_the_state_made_from_them() -> None:
    params = initial_params(NETWORK, jax.random.key(0), (10, 5, 1))
    update_step = make_update_step(NETWORK, (TD,), ADAM)
    update_step(initial_train_state(params, ADAM), _batch((10, 5, 1), 3), {"td": 1.0}, 1e-3, 10)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta1": 1.0}, "beta1"),
        ({"beta2": -0.1}, "beta2"),
        ({"epsilon": 0.0}, "above 0"),
    ],
)
def test_impossible_adam_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdamConfig(**settings)
