"""Grids of channels and vectors of floats on their way from play through Reverb into batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from services.actor.behaviours import Annotator, Labels
from services.actor.rollout import Rollout
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.item_layout import ItemLayout
from services.replay.reader import ReplayReader
from services.replay.server import build_replay
from services.replay.table_names import TEACHER_TABLE
from services.replay.writer import ReplayWriter
from tests.support.patience import PATIENCE_SECONDS

SEED, STEPS, NUM_ENVS = 3, 60, 2


def played_transitions(
    config: EnvironmentConfig, actions: NDArray[np.int64]
) -> dict[tuple[bytes, int], set[tuple[float, float, bytes]]]:
    """(state, action) -> (clipped reward, discount, next state), stepped by hand.

    The next state is left out after a termination.
    """
    environment = make_environment(config, NUM_ENVS)
    observation = environment.reset(SEED)
    found: dict[tuple[bytes, int], set[tuple[float, float, bytes]]] = {}
    for action in actions:
        step = environment.step(action)
        for env in np.flatnonzero(~step.episode_start):
            ended = bool(step.terminated[env])
            outcome = (
                float(np.clip(step.reward[env], -1, 1)),
                0.0 if ended else 0.5,
                b"" if ended else step.observation[env].tobytes(),
            )
            key = observation[env].tobytes(), int(action[env])
            found.setdefault(key, set()).add(outcome)
        observation = step.observation
    return found


@pytest.mark.parametrize(
    "config",
    [
        EnvironmentConfig(name="minatar", game="breakout"),
        EnvironmentConfig(name="gymnasium", game="CartPole-v1", max_episode_steps=12),
    ],
    ids=["minatar", "gymnasium"],
)
def test_batches_hold_what_was_played(config: EnvironmentConfig, tmp_path: Path) -> None:
    environment = make_environment(config, NUM_ENVS)
    spec = environment.spec
    layout = ItemLayout(
        frame_shape=spec.frame_shape,
        stack_size=spec.stack_size,
        n_step=1,
        num_actions=spec.num_actions,
        clips_rewards=False,
        frame_dtype=spec.frame_dtype,
    )
    actions = np.random.default_rng(0).integers(0, spec.num_actions, size=(STEPS, NUM_ENVS))
    remaining = iter(actions)

    def policy(
        observations: NDArray[Any], episode_start: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Labels]:
        return next(remaining), None

    server = build_replay(ReplayConfig(layout=layout, checkpoint_root=tmp_path / "replay"))
    server.start()
    writer = ReplayWriter(server.address, TEACHER_TABLE, layout, NUM_ENVS)
    reader = ReplayReader(server.address, layout, 0.5, 32)
    try:
        rollout = Rollout(environment, writer, Annotator(), seed=SEED, max_pending=1)
        for _ in range(STEPS):
            rollout.step(policy)
        rollout.finish()
        assert writer.flush(20.0)
        played = played_transitions(config, actions)
        size = table_counts(server.address)[TEACHER_TABLE].size
        assert size > STEPS
        for _ in range(10):
            batch = reader.sample(TEACHER_TABLE, PATIENCE_SECONDS).batch
            assert batch.observation.shape == (32, *spec.observation_shape)
            assert batch.observation.dtype == batch.next_observation.dtype == spec.frame_dtype
            for row in range(32):
                discount = float(batch.discount[row])
                next_state = batch.next_observation[row].tobytes() if discount else b""
                key = batch.observation[row].tobytes(), int(batch.action[row])
                assert (float(batch.n_step_return[row]), discount, next_state) in played[key]
    finally:
        reader.close()
        writer.close()
        server.stop()
        environment.close()
