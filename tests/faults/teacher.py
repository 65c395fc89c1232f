"""A teacher of Catch that never misses, for systems that are started outside pytest."""

from __future__ import annotations

from pathlib import Path

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import EvaluationScore, TeacherCard
from rrl_agents.checkpoints.teacher_directory import save_teacher
from rrl_agents.environments import catch
from rrl_agents.networks.registry import NetworkConfig
from tests.conftest import perfect_catch_params


def save_catch_teacher(path: Path) -> None:
    """Write it as a teacher directory."""
    params = perfect_catch_params()
    save_teacher(
        path,
        params,
        TeacherCard(
            name="catch_by_hand",
            game="catch",
            network=NetworkConfig(name="mlp", features=(2,)),
            num_actions=catch.NUM_ACTIONS,
            observation_shape=(catch.ROWS, catch.COLUMNS, 1),
            score=EvaluationScore(
                mean_return=1.0, std_return=0.0, episodes=1, epsilon=0.0, sticky_actions=0.0
            ),
            made="weights set by hand",
            parameters_sha256=params_hash(params_to_bytes(params)),
        ),
    )
