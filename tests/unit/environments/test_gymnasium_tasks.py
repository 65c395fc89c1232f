"""Environments of Gymnasium by id and by function, against Gymnasium itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces, wrappers

from rrl_agents import plugins
from rrl_agents.environments.gymnasium_tasks import BOUNDS, code_of
from rrl_agents.environments.registry import (
    EnvironmentConfig,
    known_random_return,
    make_environment,
    task_name,
)

HERE = "gymnasium_examples"


class Counter(gymnasium.Env[Any, Any]):
    """Observes how often it was stepped; `start` is the number of its first action."""

    def __init__(self, observations: Any, start: int = 0, actions: Any = None) -> None:
        self.observation_space = observations
        self.action_space = actions or spaces.Discrete(3, start=start)
        self._steps = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self._steps += 1
        return self._seen(), float(action), False, False, {}

    def _seen(self) -> Any:
        space = self.observation_space
        if isinstance(space, spaces.Discrete):
            return int(space.start) + self._steps % int(space.n)
        return np.full(space.shape, self._steps, space.dtype)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Give a function a name of its own module, and make a config of it."""

    def config(make: Any, **settings: Any) -> EnvironmentConfig:
        module = importlib.util.module_from_spec(
            importlib.util.spec_from_loader(HERE, loader=None)  # type: ignore[arg-type]
        )
        module.make = make  # type: ignore[attr-defined]
        monkeypatch.setitem(__import__("sys").modules, HERE, module)
        plugins.allow(f"{HERE}:make")
        return EnvironmentConfig(name="gymnasium", game=f"{HERE}:make", **settings)

    return config


def box(*shape: int, dtype: Any = np.float32, high: float = 255) -> spaces.Box:
    return spaces.Box(0, high, shape, dtype)


@pytest.mark.parametrize("game", ["CartPole-v1", "LunarLander-v3", "FrozenLake-v1"])
def test_states_rewards_and_ends_equal_gymnasiums(game: str) -> None:
    """Two of ours are `gymnasium.make` with seeds 3 and 4, over several episodes."""
    theirs: list[Any] = [gymnasium.make(game) for _ in range(2)]
    ours = make_environment(EnvironmentConfig(name="gymnasium", game=game), 2)
    is_discrete = isinstance(theirs[0].observation_space, spaces.Discrete)

    def shown(states: list[Any]) -> Any:
        return np.eye(16, dtype=np.float32)[states] if is_discrete else np.stack(states)

    assert ours.spec.max_episode_steps == theirs[0].spec.max_episode_steps
    observation = ours.reset(3)
    expected = [environment.reset(seed=3 + i)[0] for i, environment in enumerate(theirs)]
    random, episodes = np.random.default_rng(0), 0
    for _ in range(400):
        np.testing.assert_array_equal(observation, shown(expected))
        action = random.integers(0, ours.spec.num_actions, size=2)
        step = ours.step(action)
        for i, environment in enumerate(theirs):
            if step.episode_start[i]:
                expected[i], _ = environment.reset()
                assert step.reward[i] == 0.0
            else:
                expected[i], reward, terminated, truncated, _ = environment.step(int(action[i]))
                assert step.reward[i] == np.float32(reward)
                assert (step.terminated[i], step.truncated[i]) == (terminated, truncated)
        episodes += int(step.terminated.sum())
        observation = step.observation
    assert episodes >= 4
    for environment in theirs:
        environment.close()


def test_a_time_limit_is_the_environments_own_and_no_termination(play: Any) -> None:
    def make() -> Any:
        return wrappers.OrderEnforcing(wrappers.TimeLimit(Counter(box(2)), 5))

    for settings, limit in ({}, 5), ({"max_episode_steps": 3}, 3):
        environment = make_environment(play(make, **settings), 1)
        environment.reset(0)
        steps = [environment.step(np.zeros(1, np.int64)) for _ in range(limit)]
        assert environment.spec.max_episode_steps == limit
        assert [bool(step.truncated[0]) for step in steps] == [False] * (limit - 1) + [True]
        assert not any(step.terminated[0] for step in steps)
        # The state that is bootstrapped from is the last one, not the first of the next episode.
        np.testing.assert_array_equal(steps[-1].observation, np.full((1, 2), limit))
    longer = EnvironmentConfig(name="gymnasium", game="CartPole-v1", max_episode_steps=700)
    assert make_environment(longer, 1).spec.max_episode_steps == 700


@pytest.mark.parametrize(
    ("space", "settings", "shape", "dtype", "seen"),
    [
        (box(4), {}, (4,), "float32", np.ones(4)),
        (box(4, dtype=np.float64), {}, (4,), "float32", np.ones(4)),
        (box(128, dtype=np.uint8), {}, (128,), "uint8", np.ones(128)),
        (spaces.Discrete(3), {}, (3,), "float32", np.eye(3)[1]),
        (spaces.Discrete(3, start=5), {}, (3,), "float32", np.eye(3)[1]),
        (box(6, 5), {}, (6, 5, 1), "float32", np.ones((6, 5, 1))),
        (box(6, 5, 3, dtype=np.uint8), {}, (6, 5, 3), "uint8", np.ones((6, 5, 3))),
        (box(4), {"stack_size": 2}, (4, 2), "float32", np.outer(np.ones(4), [0, 1])),
        (box(6, 5, 3, dtype=np.uint8), {"grayscale": True}, (6, 5, 1), "uint8", np.ones((6, 5, 1))),
        (box(6, 8, 3, dtype=np.uint8), {"resize": (3, 4)}, (3, 4, 3), "uint8", np.ones((3, 4, 3))),
        (
            box(6, 8, 3, dtype=np.uint8),
            {"resize": (3, 4), "grayscale": True, "stack_size": 4},
            (3, 4, 4),
            "uint8",
            np.broadcast_to([0, 0, 0, 1], (3, 4, 4)),
        ),
    ],
)
def test_frames_are_what_students_take(
    play: Any, space: Any, settings: Any, shape: Any, dtype: str, seen: Any
) -> None:
    environment = make_environment(play(lambda: Counter(space), **settings), 2)
    assert (environment.spec.observation_shape, environment.spec.frame_dtype) == (shape, dtype)
    first = environment.reset(0)
    assert first.shape == (2, *shape) and first.dtype == dtype
    found = environment.step(np.zeros(2, np.int64)).observation
    assert found.dtype == dtype
    if "stack_size" in settings and np.ndim(seen) == 2:
        # One step after the start there are two frames: 0 of the start, 1 of now.
        seen = np.stack([np.zeros(4), np.ones(4)], axis=-1)
    np.testing.assert_array_equal(found[1], seen)
    environment.close()


def test_actions_are_counted_from_0(play: Any) -> None:
    environment = make_environment(play(lambda: Counter(box(2), start=5)), 2)
    environment.reset(0)
    step = environment.step(np.asarray([0, 2]))
    assert step.reward.tolist() == [5.0, 7.0]


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (lambda: Counter(spaces.Dict(a=box(2))), {}, "one array: write a function.*FlattenObs"),
        (lambda: Counter(spaces.MultiBinary(3)), {}, "one array: write a function"),
        (lambda: Counter(box(2, dtype=np.int64)), {}, r"int64 \(2,\).*DtypeObservation"),
        (lambda: Counter(box(2, 2, 2, 2)), {}, "of one to three axes"),
        (lambda: Counter(box(2), actions=box(1)), {}, "discrete ones.*DiscretizeAction"),
        (
            lambda: Counter(box(4)),
            {"grayscale": True},
            r"grayscale is for images uint8 \[H, W, 3\]",
        ),
        (lambda: Counter(box(4)), {"resize": (3, 3)}, "resize is for images"),
        (lambda: 3, {}, "made a int; it must make a gymnasium.Env"),
        (lambda: 1 / 0, {}, "failed .ZeroDivisionError: division by zero"),
    ],
)
def test_what_students_cannot_learn_with_is_refused_with_what_to_wrap(
    play: Any, make: Any, settings: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_environment(play(make, **settings), 1)


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ("CartPol-v1", "makes no environment 'CartPol-v1'.*CartPole"),
        ("pong", "makes no environment 'pong'"),
        ("Nowhere/Pong-v5", "package:id"),
    ],
)
def test_an_unknown_id_is_refused(game: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_environment(EnvironmentConfig(name="gymnasium", game=game), 1)


@pytest.mark.parametrize("game", ["untrusted_module:make", "untrusted_module:Some-v0"])
def test_code_that_only_a_file_names_is_not_imported(game: str) -> None:
    config = EnvironmentConfig(name="gymnasium", game=game)
    with pytest.raises(ValueError, match=f"when you name it.*RRL_PLUGINS={game}"):
        make_environment(config, 1)
    plugins.allow(game)
    with pytest.raises(ValueError, match="untrusted_module"):
        make_environment(config, 1)


@pytest.mark.parametrize(
    ("game", "task"),
    [
        ("CartPole-v1", "CartPole-v1"),
        ("minigrid:MiniGrid-Empty-5x5-v0", "MiniGrid-Empty-5x5-v0"),
        ("my_package.games:make_env", "my_package.games:make_env"),
    ],
)
def test_it_is_named_by_its_id_or_by_what_makes_it(game: str, task: str) -> None:
    assert task_name("gymnasium", game) == task


@pytest.mark.parametrize("game", ["", "a b", "../x", "a:b:c"])
def test_what_is_no_id_is_refused(game: str) -> None:
    with pytest.raises(ValueError, match="give an id of Gymnasium"):
        EnvironmentConfig(name="gymnasium", game=game)


def test_a_class_of_ones_own_does_and_its_code_is_told_apart(play: Any) -> None:
    config = play(lambda: Counter(box(2)))
    assert known_random_return(config) is None
    name, digest = code_of(config).split()
    assert name.endswith("Counter") and len(digest) == 64
    plain = EnvironmentConfig(name="gymnasium", game="CartPole-v1")
    assert code_of(plain).startswith("gymnasium.envs.classic_control.cartpole.CartPoleEnv ")


@pytest.mark.parametrize(
    ("game", "prefix"),
    [("CartPole-v1", "CARTPOLE"), ("Acrobot-v1", "ACROBOT"), ("MountainCar-v0", "MOUNTAINCAR")],
)
def test_bounds_are_dopamines(game: str, prefix: str) -> None:
    from dopamine.discrete_domains import gym_lib

    spec = make_environment(EnvironmentConfig(name="gymnasium", game=game), 1).spec
    low, high = getattr(gym_lib, f"{prefix}_MIN_VALS"), getattr(gym_lib, f"{prefix}_MAX_VALS")
    np.testing.assert_allclose(spec.frame_low, low)
    np.testing.assert_allclose(spec.frame_high, high)
    assert set(BOUNDS) == {"CartPole-v1", "Acrobot-v1", "MountainCar-v0"}


def test_a_package_registers_its_ids_when_it_is_imported(play: Any) -> None:
    game = "minigrid:MiniGrid-Empty-5x5-v0"
    plugins.allow(game)
    with pytest.raises(ValueError, match="has observations Dict.*FilterObservation"):
        make_environment(EnvironmentConfig(name="gymnasium", game=game), 1)

    def make() -> Any:
        from minigrid.wrappers import ImgObsWrapper, RGBImgPartialObsWrapper

        grid = gymnasium.make("MiniGrid-Empty-5x5-v0")
        return ImgObsWrapper(RGBImgPartialObsWrapper(grid, tile_size=8))

    environment = make_environment(play(make, grayscale=True, resize=(28, 28), stack_size=2), 2)
    spec = environment.spec
    assert (spec.observation_shape, spec.num_actions) == ((28, 28, 2), 7)
    seen = environment.reset(0)
    assert seen.shape == (2, 28, 28, 2) and not seen[..., 0].any() and seen[..., 1].any()
    environment.close()
