"""What a student makes of a batch: noise, quantile levels and double learning by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.networks.registry import NetworkConfig, make_network
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.td_learning import TdOutcome, make_td_learning
from rrl_agents.types import Batch
from tests.support.batches import batch_of

KEY = jax.random.key(0)
ROWS = 4


def _batch(**changes: Any) -> Batch:
    """Rows in the state 1, bootstrapped from the state 2 with factor 1/2, return 1, action 0."""
    batch = batch_of((1,), 2, rows=ROWS)._replace(
        observation=jnp.full((ROWS, 1), 1.0),
        action=jnp.zeros(ROWS, jnp.int32),
        n_step_return=jnp.ones(ROWS),
        discount=jnp.full(ROWS, 0.5),
        next_observation=jnp.full((ROWS, 1), 2.0),
    )
    return batch._replace(**changes)


def _linear(slopes: list[float]) -> Any:
    """Values of two actions: slope times the state."""
    kernel = jnp.float32([slopes])
    return {"params": {"Dense_0": {"kernel": kernel, "bias": np.zeros(2, np.float32)}}}


def _outcome(
    config: NetworkConfig, student: StudentConfig, params: Any, target: Any, key: jax.Array = KEY
) -> TdOutcome:
    td_learning = jax.jit(make_td_learning(make_network(config, 2), student))
    outcome: TdOutcome = td_learning(params, target, _batch(), key)
    return outcome


@pytest.mark.parametrize(
    ("double", "loss"),
    [
        # Target network's best: 1 + 1/2 * 3 * 2 = 4; the online value is 1: error 3, 3 - 1/2.
        (False, 2.5),
        # The online network prefers action 1 in the state 2 (4 over 2); its target value is 1 * 2:
        # 1 + 1/2 * 2 = 2; error 1, 1/2.
        (True, 0.5),
    ],
)
def test_double_learning_asks_the_online_network_about_the_next_action(
    double: bool, loss: float
) -> None:
    config = NetworkConfig(name="mlp", features=())
    outcome = _outcome(
        config, StudentConfig(double=double), _linear([1.0, 2.0]), _linear([3.0, 1.0])
    )
    np.testing.assert_allclose(outcome.online.q_values, np.tile([1.0, 2.0], (ROWS, 1)), rtol=1e-6)
    np.testing.assert_allclose(outcome.td_loss, np.full(ROWS, loss), rtol=1e-5)


def _implicit(value: float) -> Any:
    """An implicit quantile network whose quantiles are all the same, in both actions."""
    return {
        "params": {
            "Dense_0": {"kernel": np.zeros((4, 1), np.float32), "bias": np.ones(1, np.float32)},
            "Dense_1": {
                "kernel": np.zeros((1, 2), np.float32),
                "bias": np.full(2, value, np.float32),
            },
        }
    }


def test_implicit_quantiles_are_learned_at_levels_drawn_for_each_row() -> None:
    config = NetworkConfig(
        name="mlp", features=(), head="implicit_quantile", num_atoms=8, quantile_embedding_dim=4
    )
    student = StudentConfig(quantile_samples=256)
    found = _outcome(config, student, _implicit(1.0), _implicit(4.0))
    # Target 1 + 1/2 * 4 = 3 everywhere, error 2, huber 3/2: the loss is 3/2 times the sum of 256
    # levels, uniform: 128 with deviation sqrt(256 / 12) = 4.6; allow four of them.
    levels_sum = np.asarray(found.td_loss) / 1.5
    np.testing.assert_allclose(levels_sum, 128.0, atol=18.5)
    assert len(set(levels_sum.tolist())) == ROWS
    np.testing.assert_allclose(found.online.q_values, np.ones((ROWS, 2)), rtol=1e-6)
    other = _outcome(config, student, _implicit(1.0), _implicit(4.0), jax.random.key(1))
    again = _outcome(config, student, _implicit(1.0), _implicit(4.0))
    assert (np.asarray(other.td_loss) != np.asarray(found.td_loss)).all()
    np.testing.assert_array_equal(again.td_loss, found.td_loss)


@pytest.mark.parametrize("double", [False, True])
def test_implicit_quantiles_choose_the_next_action_by_their_means(double: bool) -> None:
    config = NetworkConfig(
        name="mlp", features=(), head="implicit_quantile", num_atoms=8, quantile_embedding_dim=4
    )
    online, target = _implicit(0.0), _implicit(0.0)
    online["params"]["Dense_1"]["bias"] = jnp.float32([1.0, 2.0])  # Prefers action 1.
    target["params"]["Dense_1"]["bias"] = jnp.float32([4.0, 0.0])  # Prefers action 0.
    found = _outcome(config, StudentConfig(double=double, quantile_samples=256), online, target)
    # Plain: as above. Double: target 1 + 1/2 * 0 = 1, where the online value is: no loss.
    if double:
        np.testing.assert_allclose(found.td_loss, np.zeros(ROWS), atol=1e-6)
    else:
        np.testing.assert_allclose(found.td_loss / 1.5, 128.0, atol=18.5)


def test_noisy_students_learn_with_one_noise_online_and_another_in_the_target() -> None:
    config = NetworkConfig(name="mlp", features=(), noisy=True)
    noisy = {
        "params": {
            "NoisyNetwork_0": {
                "kernel_mu": np.zeros((1, 2), np.float32),
                "kernel_sigma": np.zeros((1, 2), np.float32),
                "bias_mu": jnp.float32([0.0, -50.0]),
                "bias_sigma": jnp.float32([0.1, 0.0]),
            }
        }
    }
    td_learning = jax.jit(make_td_learning(make_network(config, 2), StudentConfig()))
    batch = _batch(n_step_return=jnp.zeros(ROWS), discount=jnp.ones(ROWS))
    found = td_learning(noisy, noisy, batch, KEY)
    # Both networks answer their bias' noise for action 0: the error is the difference of two
    # draws. Were they the same draw, the loss would be 0.
    assert (np.asarray(found.td_loss) > 0.0).all()
    assert float(found.online.q_values[0, 0]) != 0.0
    gradient = jax.grad(lambda p: jnp.sum(td_learning(p, noisy, batch, KEY).td_loss))(noisy)
    assert float(np.abs(gradient["params"]["NoisyNetwork_0"]["bias_sigma"][0])) > 0.0


def test_a_distribution_of_one_atom_has_nothing_to_learn() -> None:
    config = NetworkConfig(name="mlp", features=(), head="categorical", num_atoms=1)
    with pytest.raises(ValueError, match="num_atoms is 1; a categorical head learns from 2 on"):
        make_td_learning(make_network(config, 2), StudentConfig())
