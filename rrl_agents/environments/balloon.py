"""Station keeping by a stratospheric balloon (Bellemare et al., 2020): the package's simulator.

The Balloon Learning Environment (Greaves et al., 2021). A balloon rides the wind at an altitude of
its choice and is to stay within 50 km of a station: it goes down (0), stays (1) or goes up (2), a
decision every 3 minutes. An observation is float32 [1099]: the balloon's state, and the wind at 181
pressure levels with its uncertainty. The reward is 1 within the radius, at most 0.4 beyond it,
halved every 100 km; going down on scarce power costs up to 35% of it. A flight ends by the rules
when the balloon bursts, runs out of power or falls to zero pressure; the protocol cuts it off after
960 decisions, two days.

The package was written for older libraries. What this module works around is named where it does.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import gymnasium
import jax
import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.environments.vector_environment import VectorEnvironment, one_by_one

OBSERVATION_SIZE = 1_099
NUM_ACTIONS = 3
"""Down, stay, up: the package's `AltitudeControlCommand`."""

FLIGHT_STEPS = 960
"""Decisions of a flight: two days of 3 minutes each."""

STATION_RADIUS_METRES = 50_000.0
"""The metric TWR50 is the share of steps within this distance."""

_PACKAGE = "balloon_learning_environment"


def make_balloon(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    """N balloons, flown one after the other in this process.

    Raises:
        ValueError: the package is not installed.
    """
    return one_by_one(
        Balloon, num_envs, name="balloon", max_episode_steps=config.episode_steps, stack_size=1
    )


class Balloon(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One balloon; `info["within_radius"]` says whether it is within 50 km of the station.

    Raises:
        ValueError: the package is not installed.
    """

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (OBSERVATION_SIZE,), np.float32
        )
        self.action_space = gymnasium.spaces.Discrete(NUM_ACTIONS)
        with _older_libraries():
            self._flight = _package_environment()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start a flight; with a seed, always the same one."""
        super().reset(seed=seed, options=options)
        with _older_libraries():
            observation = self._flight.reset(seed=seed)
        return observation.astype(np.float32), {}

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Fly for 3 minutes."""
        with _older_libraries():
            observation, reward, ended, _ = self._flight.step(int(action))
        balloon = self._flight.get_simulator_state().balloon_state
        east, north = balloon.x.meters, balloon.y.meters
        info = {
            "within_radius": bool(np.hypot(east, north) <= STATION_RADIUS_METRES),
            "position": (east, north, balloon.pressure),
        }
        return observation.astype(np.float32), float(reward), bool(ended), False, info


@contextlib.contextmanager
def _older_libraries() -> Iterator[None]:
    """JAX's random numbers as the package's wind was made with, and one thread of BLAS.

    The matrices of the wind's model are small: more threads cost twice as much as they help.
    """
    from threadpoolctl import threadpool_limits

    with jax.threefry_partitionable(False), threadpool_limits(1, user_api="blas"):
        yield


def _package_environment() -> Any:
    """The package's own environment, without its registry, which imports all its agents."""
    try:
        with _hashable_defaults():
            from balloon_learning_environment.env import balloon_env, wind_gp
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the balloon environment needs a package that is not installed ({error.name}): "
            "pip install 'rrl-agents[balloon]'"
        ) from error
    wind_gp.WindGP.query_batch = _one_deviation(wind_gp.WindGP.query_batch)
    return balloon_env.BalloonEnv(seed=0)


@contextlib.contextmanager
def _hashable_defaults() -> Iterator[None]:
    """Have dataclasses take the package's defaults.

    From Python 3.11 on, a default whose class defines `__eq__` without `__hash__` counts as mutable
    and is refused. The package has such units of length and time, which do not change.
    """
    original = dataclasses.dataclass
    unhashable: list[type] = []

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        def make(cls: type) -> Any:
            for kind in map(type, list(vars(cls).values())):
                if kind.__hash__ is None and kind.__module__.startswith(_PACKAGE):
                    kind.__hash__ = object.__hash__  # type: ignore[method-assign]
                    unhashable.append(kind)
            return original(cls, **options)

        return make if cls is None else make(cls)

    dataclasses.dataclass = dataclass  # type: ignore[assignment]
    try:
        yield
    finally:
        dataclasses.dataclass = original
        for kind in unhashable:
            kind.__hash__ = None  # type: ignore[assignment,method-assign]


def _one_deviation(query: Any) -> Any:
    """A wind's query with one deviation per place.

    From scikit-learn 1.1 on, there is one for each of the two components of the wind; they are
    equal, since both have the same kernel.
    """
    if getattr(query, "gives_one_deviation", False):
        return query

    def one(self: Any, locations: NDArray[np.float64]) -> tuple[Any, Any]:
        means, deviations = query(self, locations)
        return means, deviations[:, 0] if deviations.ndim == 2 else deviations

    one.gives_one_deviation = True  # type: ignore[attr-defined]
    return one
