"""Losses against the functions of rlax, distrax and Dopamine.

These run in a process of their own: rlax and distrax can only be imported before TensorFlow is, and
another test may have imported it already.
"""

from __future__ import annotations

import subprocess
import sys

COMPARISON = """
import jax
import numpy as np
import rlax  # First: see above.
import distrax
from dopamine.jax import losses as dopamine_losses

from rrl_agents.losses.distillation import distillation_loss
from rrl_agents.losses.temporal_difference import n_step_q_learning_loss

generator = np.random.default_rng(0)
q, q_t, teacher = generator.normal(scale=2, size=(3, 64, 6)).astype(np.float32)
actions = generator.integers(0, 6, size=64).astype(np.int32)
returns = generator.normal(size=64).astype(np.float32)
discounts = generator.choice([0.0, 0.99**3], size=64).astype(np.float32)

ours = jax.vmap(n_step_q_learning_loss)(q, actions, returns, discounts, q_t)
errors = jax.vmap(rlax.q_learning)(q, actions, returns, discounts, q_t)
np.testing.assert_allclose(ours, rlax.huber_loss(errors), rtol=1e-5, atol=1e-6)
targets = returns + discounts * q_t.max(axis=1)
theirs = dopamine_losses.huber_loss(targets, q[np.arange(64), actions])
np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)

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
        timeout=200,
    )
    assert result.returncode == 0 and result.stdout.strip() == "equal", result.stderr
