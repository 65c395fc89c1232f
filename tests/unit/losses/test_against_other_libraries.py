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


# Values: Q-learning chooses by the target network, double Q-learning by another.
ours = jax.vmap(n_step_q_learning_loss)(q, *transitions, q_t, q_t)
equal(ours, rlax.huber_loss(jax.vmap(rlax.q_learning)(q, *transitions, q_t)))
targets = returns + discounts * q_t.max(axis=1)
equal(ours, dopamine_losses.huber_loss(targets, q[np.arange(64), actions]))
ours = jax.vmap(n_step_q_learning_loss)(q, *transitions, q_t, selector)
equal(ours, rlax.huber_loss(jax.vmap(rlax.double_q_learning)(q, *transitions, q_t, selector)))

# Categorical, with returns that reach beyond the support.
support = np.linspace(-3, 3, 9, dtype=np.float32)
logits, logits_t = generator.normal(scale=2, size=(2, 64, 6, 9)).astype(np.float32)
means_t = jax.nn.softmax(logits_t) @ support
rows = (0,) * 6 + (None,)
ours = jax.vmap(categorical_q_learning_loss, rows)(logits, *transitions, logits_t, means_t, support)
axes = (None, 0, 0, 0, 0, None, 0)
equal(
    ours,
    jax.vmap(rlax.categorical_q_learning, axes)(support, logits, *transitions, support, logits_t),
)
ours = jax.vmap(categorical_q_learning_loss, rows)(
    logits, *transitions, logits_t, selector, support
)
theirs = jax.vmap(rlax.categorical_double_q_learning, (*axes, 0))(
    support, logits, *transitions, support, logits_t, selector
)
equal(ours, theirs)
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
ours = jax.vmap(quantile_q_learning_loss)(
    quantiles, levels, *transitions, quantiles_t, chooser.mean(axis=2)
)
theirs = jax.vmap(lambda *row: rlax.quantile_q_learning(*row, huber_param=1.0))(
    quantiles.transpose(0, 2, 1),
    levels,
    *transitions,
    chooser.transpose(0, 2, 1),
    quantiles_t.transpose(0, 2, 1),
)
equal(ours, theirs)

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
