"""A student's card and its teacher's, every field of them given."""

from __future__ import annotations

from rrl_agents.checkpoints.teacher_card import (
    Compute,
    EvaluationScore,
    Parent,
    PlayProtocol,
    TeacherCard,
)
from rrl_agents.networks.config import NetworkConfig

TEACHER = TeacherCard(
    name="dqn400",
    game="pong",
    network=None,
    num_actions=2,
    observation_shape=(84, 84, 4),
    output="logits",
    temperature=0.5,
    made="elsewhere",
    algorithm="DQN (Adam)",
    score=EvaluationScore(
        mean_return=18.5,
        std_return=1.25,
        episodes=30,
        epsilon=0.001,
        sticky_actions=0.25,
        interval=(18.0, 19.0),
    ),
    parameters_sha256="0b" * 32,
)

STUDENT = TeacherCard(
    name="qdagger-pong-1",
    game="pong",
    network=NetworkConfig(features=(16, 32, 32), hidden_units=256, padding="VALID"),
    num_actions=2,
    observation_shape=(84, 84, 4),
    action_meanings=("NOOP", "FIRE"),
    made="the student of a finished run",
    algorithm="qdagger",
    protocol=PlayProtocol(
        frames_per_step=4, stack_size=4, max_episode_steps=27_000, sticky_actions=0.25
    ),
    score=EvaluationScore(
        mean_return=12.25,
        std_return=2.0,
        episodes=2,
        epsilon=0.001,
        sticky_actions=0.25,
        interval=(11.0, 13.5),
        returns=(10.25, 14.25),
        note="played by these weights",
    ),
    random_return=-20.7,
    compute=Compute(
        environment_frames=112_000,
        teacher_frames=120_000,
        gradient_updates=14_500,
        hardware_seconds=725.0,
        hardware="2 cores of a CPU, no GPU",
    ),
    command="rrl train qdagger --run runs/pong-1",
    code_version="rrl-agents 0.1.0",
    parents=(Parent(relations=("teacher", "data"), card=TEACHER),),
    parameters_sha256="0a" * 32,
)
