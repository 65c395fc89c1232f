"""Experiments by name, for each method: the paper's scale, and one for a laptop."""

from __future__ import annotations

from collections.abc import Mapping

from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from services.evaluator.config import EvaluationProtocol
from services.launcher.experiment import ExperimentConfig

PAPER = "paper"
DEMO = "demo"

_DEMO_TEACHER_STEPS = 30_000
_DEMO_OFFLINE_UPDATES = 8_000
_DEMO_ONLINE_STEPS = 28_000
_DEMO_MIN_REPLAY_SIZE = 2_000

# As many updates as QDagger's two phases together, and more steps of play than teacher and student
# take there: what the same budget buys without a teacher.
_DEMO_TABULA_RASA_STEPS = 60_000

_DEMO_STUDENT = NetworkConfig(features=(16, 32, 32), hidden_units=256, padding="VALID")
"""A quarter of the teacher's work per state, so that two CPU cores do 30 to 60 updates a second."""


def _demo_q_learning(n_step: int) -> QLearningConfig:
    return QLearningConfig(
        n_step=n_step,
        target_update_steps=2_000,
        min_replay_size=_DEMO_MIN_REPLAY_SIZE,
        epsilon_decay_steps=2_000,
    )


def _demo(
    method: QDaggerConfig | TabulaRasaConfig, *, teacher_steps: int, online_steps: int
) -> ExperimentConfig:
    return ExperimentConfig(
        method=method,
        network=_DEMO_STUDENT,
        teacher_steps=teacher_steps,
        online_steps=online_steps,
        evaluation=EvaluationProtocol(episodes=6, final_episodes=10, num_envs=10),
        offline_evaluation_period=4_000,
        online_evaluation_period=3_250,
        replay_capacity=100_000,
        checkpoint_period_seconds=120.0,
    )


PRESETS: Mapping[str, Mapping[str, ExperimentConfig]] = {
    "qdagger": {
        PAPER: ExperimentConfig(method=QDaggerConfig()),
        # Pong's action values lie 0.01 to 0.05 apart, so the paper's temperature of 0.1 leaves the
        # teacher's policy nearly uniform: imitation takes about twice as many updates.
        DEMO: _demo(
            QDaggerConfig(
                q_learning=_demo_q_learning(n_step=3),
                temperature=0.02,
                offline_updates=_DEMO_OFFLINE_UPDATES,
                wean_steps=_DEMO_ONLINE_STEPS,
                taught_learning_rate=3e-4,
                weaned_learning_rate=1e-5,
            ),
            teacher_steps=_DEMO_TEACHER_STEPS,
            online_steps=_DEMO_ONLINE_STEPS,
        ),
    },
    "tabula_rasa": {
        PAPER: ExperimentConfig(method=TabulaRasaConfig(), teacher_steps=0),
        DEMO: _demo(
            TabulaRasaConfig(q_learning=_demo_q_learning(n_step=3), learning_rate=3e-4),
            teacher_steps=0,
            online_steps=_DEMO_TABULA_RASA_STEPS,
        ),
    },
}
"""Method -> preset -> experiment."""
