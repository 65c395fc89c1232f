"""The terms' coefficients beside each student's TD loss, by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.reincarnation.dqfd import DqfdConfig, dqfd
from rrl_agents.reincarnation.offline_pretraining import (
    OfflinePretrainingConfig,
    offline_pretraining,
)
from rrl_agents.reincarnation.qdagger import DaggerConfig, QDaggerConfig, dagger, qdagger
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.terms import DistillationConfig
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.balance import td_losses_summed
from rrl_agents.training.td_learning import make_td_learning
from rrl_agents.types import Progress, Stage
from tests.support.batches import batch_of

OFFLINE = Progress(random_return=0.0, teacher_return=1.0, stage=Stage.OFFLINE)


TWICE = QDaggerConfig(distillation=DistillationConfig(coefficient=2.0))


@pytest.mark.parametrize(
    ("recipe", "student", "td", "term", "weight"),
    [
        # The paper's 3 of its DQN and 1 of its Rainbow; 200 * 3 and 64 * 3 beside sums of
        # quantiles.
        (qdagger(QDaggerConfig()), "dqn", 1.0, "distillation", 3.0),
        (qdagger(QDaggerConfig()), "vector_dqn", 1.0, "distillation", 3.0),
        (qdagger(QDaggerConfig()), "rainbow", 1.0, "distillation", 1.0),
        (qdagger(QDaggerConfig()), "rainbow_impala", 1.0, "distillation", 1.0),
        (qdagger(QDaggerConfig()), "qr_dqn", 1.0, "distillation", 600.0),
        (qdagger(QDaggerConfig()), "iqn", 1.0, "distillation", 192.0),
        # A coefficient that is set counts beside one loss of the student.
        (qdagger(TWICE), "dqn", 1.0, "distillation", 2.0),
        (qdagger(TWICE), "rainbow", 1.0, "distillation", 2.0),
        (qdagger(TWICE), "iqn", 1.0, "distillation", 128.0),
        (dqfd(DqfdConfig()), "qr_dqn", 1.0, "margin", 200.0),
        (dqfd(DqfdConfig()), "rainbow", 1.0, "margin", 1.0),
        (offline_pretraining(OfflinePretrainingConfig()), "iqn", 1.0, "conservative", 64.0),
        # A TD loss that does not count stays at nothing.
        (dagger(DaggerConfig()), "iqn", 0.0, "distillation", 192.0),
    ],
)
def test_a_term_keeps_its_balance_with_the_td_loss_of_a_student(
    recipe: Recipe, student: str, td: float, term: str, weight: float
) -> None:
    chosen = STUDENTS[student]
    found = recipe.term_weights(OFFLINE, chosen.network, chosen.learning)
    assert found == {"td": td, term: weight}


@pytest.mark.parametrize(
    ("network", "student", "expected"),
    [
        (NetworkConfig(name="mlp", features=(4,)), "dqn", 1.5),
        (NetworkConfig(name="mlp", features=(4,), head="quantile", num_atoms=200), "qr_dqn", 150.0),
        # 64 levels drawn at random: their mean is 1/2 within 0.5% (1 / sqrt(12 * 64 * 64)).
        (NetworkConfig(name="mlp", features=(4,), head="implicit_quantile"), "iqn", 48.0),
    ],
)
def test_the_td_loss_of_a_student_sums_as_many_losses_as_its_terms_are_scaled_by(
    network: NetworkConfig, student: str, expected: float
) -> None:
    """Zeros answer 0, the returns are 2: 1.5 of a value, N / 2 * 1.5 of N quantiles."""
    rows, learning = 64, STUDENTS[student].learning
    made = make_network(network, 3)
    params = jax.tree.map(jnp.zeros_like, initial_params(made, jax.random.key(0), (2,)))
    batch = batch_of((2,), 3, rows=rows)._replace(
        n_step_return=jnp.full(rows, 2.0), discount=jnp.ones(rows)
    )
    learn = jax.jit(make_td_learning(made, learning))
    losses = learn(params, params, batch, jax.random.key(1)).td_loss
    assert float(losses.mean()) == pytest.approx(expected, rel=0.02)
    summed = td_losses_summed(network, learning)
    assert expected == (1.5 if summed == 1 else summed / 2 * 1.5)
