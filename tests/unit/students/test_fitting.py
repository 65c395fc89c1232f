from __future__ import annotations

import jax
import pytest

from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.students.fitting import fitting_student
from rrl_agents.students.registry import STUDENTS
from rrl_agents.types import EnvironmentSpec


@pytest.mark.parametrize(
    ("shape", "stack", "student"),
    [
        ((4,), 1, "vector_dqn"),
        ((4,), 3, "vector_dqn"),
        ((10, 10, 4), 1, "minatar_dqn"),
        ((7, 7, 3), 1, "minatar_dqn"),
        ((3, 3), 1, "minatar_dqn"),
        ((2, 9, 3), 1, "vector_dqn"),
        ((56, 56, 3), 1, "dqn"),
        ((84, 84), 4, "dqn"),
    ],
)
def test_vectors_grids_and_images_have_a_student_whose_network_takes_them(
    shape: tuple[int, ...], stack: int, student: str
) -> None:
    spec = EnvironmentSpec(
        name="any",
        frame_shape=shape,
        stack_size=stack,
        num_actions=3,
        frames_per_step=1,
        max_episode_steps=9,
    )
    assert fitting_student(spec) == student
    network = make_network(STUDENTS[student].network, spec.num_actions)
    jax.eval_shape(lambda: initial_params(network, jax.random.key(0), spec.observation_shape))
