"""Losses against the functions of rlax, distrax and Dopamine.

These run in a process of their own: rlax and distrax can only be imported before TensorFlow is, and
another test may have imported it already.
"""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import PATIENCE_SECONDS

COMPARISON = """
import jax
import numpy as np
import rlax  # First: see above.
import distrax
from dopamine.jax import losses as dopamine_losses
from dopamine.jax.agents.rainbow import rainbow_agent

from rrl_agents.losses.categorical import categorical_q_learning_loss, project_distribution
from rrl_agents.losses.distillation import distillation_loss
from rrl_agents.losses.quantile import quantile_q_learning_loss
from rrl_agents.losses.temporal_difference import n_step_q_learning_loss

generator = np.random.default_rng(0)
q, q_t, selector, teacher = generator.normal(scale=2, size=(4, 64, 6)).astype(np.float32)
actions = generator.integers(0, 6, size=64).astype(np.int32)
returns = generator.normal(size=64).astype(np.float32)
discounts = generator.choice([0.0, 0.99**3], size=64).astype(np.float32)

transitions = (actions, returns, discounts)


def equal(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def rows_and_gradients(loss, inputs, *arguments):
    # Losses of all rows, and their gradients into what the networks answer.

    def total(*inputs):
        rows = jax.vmap(loss)(*inputs, *arguments)
        return rows.sum(), rows

    argnums = tuple(range(len(inputs)))
    gradients, rows = jax.grad(total, argnums=argnums, has_aux=True)(*inputs)
    return rows, *gradients


def compare(ours, theirs, *inputs):

    for one, other in zip(
        rows_and_gradients(ours, inputs, *transitions),
        rows_and_gradients(theirs, inputs, *transitions),
    ):
        equal(one, other)


# Values: Q-learning chooses by the target network, double Q-learning by another.
compare(
    lambda q, q_t, *transition: n_step_q_learning_loss(q, *transition, q_t, q_t),
    lambda q, q_t, *transition: rlax.huber_loss(rlax.q_learning(q, *transition, q_t)),
    q,
    q_t,
)
compare(
    lambda q, q_t, s, *transition: n_step_q_learning_loss(q, *transition, q_t, s),
    lambda q, q_t, s, *transition: rlax.huber_loss(rlax.double_q_learning(q, *transition, q_t, s)),
    q,
    q_t,
    selector,
)
targets = returns + discounts * q_t.max(axis=1)
ours = jax.vmap(n_step_q_learning_loss)(q, *transitions, q_t, q_t)
equal(ours, dopamine_losses.huber_loss(targets, q[np.arange(64), actions]))

# Categorical, with returns that reach beyond the support.
support = np.linspace(-3, 3, 9, dtype=np.float32)
logits, logits_t = generator.normal(scale=2, size=(2, 64, 6, 9)).astype(np.float32)
compare(
    lambda l, l_t, *transition: categorical_q_learning_loss(
        l, *transition, l_t, jax.nn.softmax(l_t) @ support, support
    ),
    lambda l, l_t, *transition: rlax.categorical_q_learning(
        support, l, *transition, support, l_t
    ),
    logits,
    logits_t,
)
compare(
    lambda l, l_t, s, *transition: categorical_q_learning_loss(l, *transition, l_t, s, support),
    lambda l, l_t, s, *transition: rlax.categorical_double_q_learning(
        support, l, *transition, support, l_t, s
    ),
    logits,
    logits_t,
    selector,
)
theirs = [
    rainbow_agent.project_distribution(r + d * support, p, support)
    for r, d, p in zip(returns, discounts, jax.nn.softmax(logits_t[:, 0]))
]
ours = jax.vmap(project_distribution, (0, 0, None))(
    returns[:, None] + discounts[:, None] * support, jax.nn.softmax(logits_t[:, 0]), support
)
equal(ours, np.stack(theirs))

# Quantiles at levels of their own for each row, as IQN draws them: 8 online, 5 of the target
# network, 4 that choose the action.
levels = generator.uniform(size=(64, 8)).astype(np.float32)
quantiles = generator.normal(scale=2, size=(64, 6, 8)).astype(np.float32)
quantiles_t = generator.normal(scale=2, size=(64, 6, 5)).astype(np.float32)
chooser = generator.normal(scale=2, size=(64, 6, 4)).astype(np.float32)
compare(
    lambda z, z_t, c, levels, *transition: quantile_q_learning_loss(
        z, levels, *transition, z_t, c.mean(axis=1)
    ),
    lambda z, z_t, c, levels, *transition: rlax.quantile_q_learning(
        z.T, levels, *transition, c.T, z_t.T, huber_param=1.0
    ),
    quantiles,
    quantiles_t,
    chooser,
    levels,
)

ours = jax.vmap(lambda s, t: distillation_loss(s, t, 0.5))(q, teacher)
theirs = distrax.Softmax(teacher, 0.5).kl_divergence(distrax.Softmax(q, 0.5))
np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
print("equal")
"""


def test_the_losses_equal_those_of_rlax_distrax_and_dopamine() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPARISON],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert result.returncode == 0 and result.stdout.strip() == "equal", result.stderr
