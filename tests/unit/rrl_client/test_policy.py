"""The policy over a client that answers from a table in the test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from rrl_client import PolicySpec, TeacherAnswer, TeacherDescription, TeacherPolicy


class Corner:
    """Values three actions by the first two elements of the oldest and the newest frame."""

    def __init__(self, shape: tuple[int, ...] = (3, 3, 2), **spec: Any) -> None:
        self.seen: NDArray[Any] = np.zeros(0)
        self._about = TeacherDescription(
            game="corner",
            name="by hand",
            teacher_version="v1",
            max_batch_rows=4,
            spec=PolicySpec(num_actions=3, observation_shape=shape, **spec),
        )

    def describe(self) -> TeacherDescription:
        return self._about

    def evaluate(self, observations: NDArray[Any]) -> TeacherAnswer:
        self.seen = observations
        flat = observations.reshape(len(observations), -1).astype(np.float32)
        values = np.stack([flat[:, 0], flat[:, 1], np.full(len(flat), 5, np.float32)], axis=1)
        return TeacherAnswer(action_values=values, teacher_version="v1")


class Environment:
    def __init__(self, action_space: Any, observation_space: Any) -> None:
        self.action_space = action_space
        self.observation_space = observation_space


def state(oldest: int, newest: int) -> NDArray[np.uint8]:
    made = np.zeros((3, 3, 2), np.uint8)
    made[0, 0] = (oldest, newest)
    return made


def test_one_observation_gives_one_action_as_an_int() -> None:
    action = TeacherPolicy(Corner())(state(9, 7))
    assert action == 0
    assert type(action) is int


def test_a_batch_gives_the_best_action_of_each_row() -> None:
    # Largest of (9, 7, 5), (7, 9, 5), (1, 2, 5); of (9, 9, 5) the first.
    batch = np.stack([state(9, 7), state(7, 9), state(1, 2), state(9, 9)])
    actions = TeacherPolicy(Corner())(batch)
    assert actions.tolist() == [0, 1, 2, 0]
    assert actions.dtype == np.int64


def test_frames_first_are_transposed_for_one_and_for_a_batch() -> None:
    client = Corner()
    policy = TeacherPolicy(client)
    wanted = state(7, 9)
    frames_first = np.moveaxis(wanted, -1, 0)
    assert frames_first.shape == (2, 3, 3)
    assert policy(frames_first) == 1
    np.testing.assert_array_equal(client.seen, wanted[None])
    np.testing.assert_array_equal(policy(np.stack([frames_first] * 2)), [1, 1])
    np.testing.assert_array_equal(client.seen, np.stack([wanted] * 2))


def test_a_shape_that_fits_as_it_is_is_never_transposed() -> None:
    client = Corner((4, 4, 4))
    given = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
    TeacherPolicy(client)(given)
    np.testing.assert_array_equal(client.seen, given[None])


def test_teachers_of_flat_observations_take_them() -> None:
    client = Corner((5,), observation_dtype="float32")
    assert TeacherPolicy(client)(np.array([9, 7, 0, 0, 0], np.float32)) == 0
    assert TeacherPolicy(client)(np.zeros((2, 5), np.float32)).tolist() == [2, 2]


@pytest.mark.parametrize("shape", [(), (3, 3), (1, 1, 3, 3, 2), (3, 2, 3), (2, 3, 2)])
def test_other_shapes_are_refused_with_what_would_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the teacher takes \(3, 3, 2\) \(or \(2, 3, 3\)"):
        TeacherPolicy(Corner())(np.zeros(shape, np.uint8))


def test_action_values_come_in_the_shape_of_the_question() -> None:
    policy = TeacherPolicy(Corner())
    assert policy.action_values(state(9, 7)).tolist() == [9, 7, 5]
    assert policy.action_values(state(9, 7)[None]).tolist() == [[9, 7, 5]]


def test_epsilon_is_the_share_of_random_actions_and_repeats_with_its_seed() -> None:
    batch = np.stack([state(9, 7)] * 30_000)
    policy = TeacherPolicy(Corner(), 0.3, np.random.default_rng(1))
    actions = policy(batch)
    # 0.3 x 2/3 of the actions are not the best one; standard error 0.0023.
    assert abs((actions != 0).mean() - 0.2) < 0.012
    assert set(actions.tolist()) == {0, 1, 2}
    again = TeacherPolicy(Corner(), 0.3, np.random.default_rng(1))
    np.testing.assert_array_equal(again(batch), actions)


def test_a_teacher_of_logits_is_drawn_from_and_explores_by_epsilon_too() -> None:
    teacher = Corner(output="logits", temperature=0.5)
    with pytest.raises(ValueError, match="returns logits.*rng is not set"):
        TeacherPolicy(teacher)
    # Logits (4, 6, 5) / (1/2) = (8, 12, 10): probabilities in proportion to e^-4, 1, e^-2, which
    # sum to 1.15366; of them 7/10, and 1/3 of 3/10 each.
    batch = np.stack([state(4, 6)] * 20_000)
    actions, again = (
        TeacherPolicy(teacher, 0.3, np.random.default_rng(1))(batch) for _ in range(2)
    )
    shares = np.bincount(actions, minlength=3) / len(batch)
    expected = 0.7 * np.asarray([0.01588, 0.86681, 0.11731]) + 0.1
    # Standard error below 0.0034.
    np.testing.assert_allclose(shares, expected, atol=0.014)
    np.testing.assert_array_equal(again, actions)


@pytest.mark.parametrize("epsilon", [-0.1, 1.5, float("nan")])
def test_an_epsilon_that_cannot_be_used_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon is"):
        TeacherPolicy(Corner(), epsilon, np.random.default_rng(0))
    with pytest.raises(ValueError, match="rng"):
        TeacherPolicy(Corner(), 0.1)


def frames(*shape: int, dtype: Any = np.uint8) -> spaces.Box:
    return spaces.Box(0, 255, shape, dtype)


@pytest.mark.parametrize("shape", [(3, 3, 2), (2, 3, 3)])
def test_a_fitting_environment_passes(shape: tuple[int, ...]) -> None:
    TeacherPolicy(Corner()).check_environment(Environment(spaces.Discrete(3), frames(*shape)))


def test_a_vector_environment_is_judged_by_one_of_its_environments() -> None:
    environment = Environment(spaces.MultiDiscrete([3, 3]), frames(2, 3, 3, 2))
    environment.single_action_space = spaces.Discrete(3)  # type: ignore[attr-defined]
    environment.single_observation_space = frames(3, 3, 2)  # type: ignore[attr-defined]
    TeacherPolicy(Corner()).check_environment(environment)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        (Environment(spaces.Discrete(4), frames(3, 3, 2)), "has 3 actions, the environment has 4"),
        (Environment(frames(2), frames(3, 3, 2)), "chooses among"),
        (Environment(spaces.Discrete(3), frames(84, 84, 4)), r"\(3, 3, 2\), .*\(84, 84, 4\)"),
        (
            Environment(spaces.Discrete(3), frames(3, 3, 2, dtype=np.float32)),
            "uint8 .* has float32",
        ),
    ],
)
def test_an_environment_that_does_not_fit_is_refused_with_the_difference(
    environment: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        TeacherPolicy(Corner()).check_environment(environment)
