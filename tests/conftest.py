"""Fixtures for every room: a teacher of Catch whose weights can be read off the game."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import EvaluationScore, TeacherCard
from rrl_agents.checkpoints.teacher_directory import save_teacher
from rrl_agents.environments import catch
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.types import Params


def _compile_fast() -> None:
    """Have this process compile without optimising: most tests run a program once or twice.

    XLA reads its flags when it starts. Processes that tests start get none of this: they compile
    as they do for users.
    """
    flags = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{flags or ''} --xla_backend_optimization_level=0".strip()
    jax.devices()
    if flags is None:
        del os.environ["XLA_FLAGS"]
    else:
        os.environ["XLA_FLAGS"] = flags


_compile_fast()

# Hypothesis also fails an example for its time, which says nothing on a loaded machine. Fixtures
# that examples share are meant to be shared.
hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store of the tests' own: what they import is not left in their user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRL_CACHE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of Dopamine's own checkpoints with the Q-values it computed itself."""
    return Path(__file__).parent / "fixtures"


def perfect_catch_params() -> Params:
    """A network that plays Catch without a miss.

    With d = ball's column - paddle's column, the hidden units are relu(-d) and relu(d), and the
    action values relu(-d), 1/2, relu(d): left for d < 0, stay for d = 0, right for d > 0.
    """
    columns = np.arange(catch.COLUMNS, dtype=np.float32)
    distance = np.tile(columns, (catch.ROWS, 1))
    distance[-1] = -columns
    kernel = distance.reshape(-1, 1)
    return {
        "params": {
            "Dense_0": {
                "kernel": np.concatenate([-kernel, kernel], axis=1),
                "bias": np.zeros(2, np.float32),
            },
            "Dense_1": {
                "kernel": np.asarray([[1, 0, 0], [0, 0, 1]], np.float32),
                "bias": np.asarray([0, 0.5, 0], np.float32),
            },
        }
    }


@pytest.fixture(scope="session")
def catch_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher directory; its score is the best there is, +1."""
    params = perfect_catch_params()
    path = tmp_path_factory.mktemp("teachers") / "catch"
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
    return path
