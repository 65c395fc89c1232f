"""What evaluations of students run is compiled once, whatever their sizes."""

from __future__ import annotations

import contextlib

import jax
import pytest
from prometheus_client import CollectorRegistry

from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import initial_params, make_network
from services.evaluator.config import EvaluationProtocol, EvaluatorConfig
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.playing import EvaluationPlayer
from services.shared.compilations import compilations

# A width no other test has: nothing of it is compiled yet.
NETWORK = NetworkConfig(name="mlp", features=(23,))


@pytest.mark.parametrize(
    "environment",
    [
        EnvironmentConfig(name="catch"),
        EnvironmentConfig(name="gymnasium", game="CartPole-v1"),
    ],
    ids=lambda environment: environment.name,
)
def test_no_evaluation_of_a_student_compiles_once_the_player_is_prepared(
    environment: EnvironmentConfig,
) -> None:
    config = EvaluatorConfig(
        environment=environment,
        network=NETWORK,
        protocol=EvaluationProtocol(episodes=2, final_episodes=5, num_envs=4),
        seed=0,
        learner_address="",
        teacher_address=None,
    )
    player = EvaluationPlayer(config, EvaluatorMetrics(CollectorRegistry()))
    with contextlib.closing(make_environment(environment, 1)) as one:
        spec = one.spec
    network = make_network(NETWORK, spec.num_actions)
    params = jax.device_get(initial_params(network, jax.random.key(0), spec.observation_shape))
    before = compilations()
    player.prepare()
    prepared = compilations()
    assert prepared > before
    for final in (False, True, False):
        played = player.student(params, version=1, final=final, should_stop=lambda: False)
        assert played is not None and len(played.returns) == (5 if final else 2)
    assert compilations() == prepared


def test_with_a_first_seed_every_evaluation_plays_the_same_episodes_in_order() -> None:
    def frames_and_returns(num_envs: int, version: int) -> tuple[list[bytes], tuple[float, ...]]:
        config = EvaluatorConfig(
            environment=EnvironmentConfig(name="catch"),
            network=NETWORK,
            protocol=EvaluationProtocol(episodes=5, num_envs=num_envs, epsilon=0.0, first_seed=40),
            seed=version,
            learner_address="",
            teacher_address=None,
        )
        player = EvaluationPlayer(config, EvaluatorMetrics(CollectorRegistry()))
        network = make_network(NETWORK, 3)
        params = jax.device_get(initial_params(network, jax.random.key(0), (10, 5, 1)))
        played = player.student(params, version=version, final=False, should_stop=lambda: False)
        assert played is not None
        return [frame.tobytes() for frame in played.first_episode_frames], played.returns

    frames, returns = frames_and_returns(num_envs=1, version=1)
    assert len(returns) == 5 and len(set(returns)) > 1
    assert frames_and_returns(num_envs=2, version=1) == (frames, returns)
    assert frames_and_returns(num_envs=5, version=2) == (frames, returns)
    with contextlib.closing(make_environment(EnvironmentConfig(name="catch"), 1)) as one:
        assert one.spec.newest_frames(one.reset(40)[0]).tobytes() == frames[0]
