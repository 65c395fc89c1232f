"""The terms' coefficients beside each student's TD loss, by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from rrl_agents.losses.quantile import quantile_huber_loss
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
from rrl_agents.students.config import StudentConfig
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.balance import td_losses_summed
from rrl_agents.training.td_learning import make_td_learning
from rrl_agents.types import Progress, Stage
from tests.support.batches import batch_of

OFFLINE = Progress(random_return=0.0, teacher_return=1.0, stage=Stage.OFFLINE)


def _weights(recipe: Recipe, student: str) -> dict[str, float]:
    chosen = STUDENTS[student]
    return recipe.term_weights(OFFLINE, chosen.network, chosen.learning)


@pytest.mark.parametrize(
    ("student", "weight"),
    # The paper's 3 of its DQN and 1 of its Rainbow; 200 * 3 and 64 * 3 beside sums of quantiles.
    [
        ("dqn", 3.0),
        ("drq", 3.0),
        ("minatar_dqn", 3.0),
        ("vector_dqn", 3.0),
        ("rainbow", 1.0),
        ("rainbow_impala", 1.0),
        ("c51", 1.0),
        ("qr_dqn", 600.0),
        ("iqn", 192.0),
    ],
)
def test_distillation_keeps_its_balance_with_the_td_loss_of_a_student(
    student: str, weight: float
) -> None:
    recipe = qdagger(QDaggerConfig())
    assert _weights(recipe, student) == {"td": 1.0, "distillation": weight}


@pytest.mark.parametrize(
    ("student", "weight"), [("dqn", 2.0), ("rainbow", 2.0), ("qr_dqn", 400.0), ("iqn", 128.0)]
)
def test_a_coefficient_that_is_set_counts_beside_one_loss_of_the_student(
    student: str, weight: float
) -> None:
    recipe = qdagger(QDaggerConfig(distillation=DistillationConfig(coefficient=2.0)))
    assert _weights(recipe, student) == {"td": 1.0, "distillation": weight}


def test_margin_and_conservative_terms_keep_their_balance_alike() -> None:
    # Their coefficient is 1 beside a value; QR-DQN sums 200 losses, IQN 64.
    assert _weights(dqfd(DqfdConfig()), "qr_dqn") == {"td": 1.0, "margin": 200.0}
    assert _weights(dqfd(DqfdConfig()), "rainbow") == {"td": 1.0, "margin": 1.0}
    pretraining = offline_pretraining(OfflinePretrainingConfig())
    assert _weights(pretraining, "iqn") == {"td": 1.0, "conservative": 64.0}
    assert _weights(pretraining, "dqn") == {"td": 1.0, "conservative": 1.0}


def test_a_td_loss_that_does_not_count_stays_at_nothing() -> None:
    assert _weights(dagger(DaggerConfig()), "iqn") == {"td": 0.0, "distillation": 192.0}


@pytest.mark.parametrize("num_quantiles", [1, 8, 200])
def test_the_number_of_summed_losses_is_that_of_a_point_mass_and_its_target(
    num_quantiles: int,
) -> None:
    """All quantiles at 0, all targets at 2: Huber's 1.5 of DQN, times half of N."""
    network = NetworkConfig(head="quantile", num_atoms=num_quantiles)
    levels = (jnp.arange(num_quantiles) + 0.5) / num_quantiles
    loss = jax.jit(quantile_huber_loss)(
        jnp.zeros(num_quantiles), levels, jnp.full(num_quantiles, 2.0)
    )
    # Errors above 0 cost level * 1.5 each; the mean level is 1/2.
    expected = td_losses_summed(network, StudentConfig()) * 0.5 * 1.5
    assert float(loss) == pytest.approx(expected, rel=1e-5)


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
