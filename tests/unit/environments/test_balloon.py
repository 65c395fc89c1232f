"""The balloon, against what its package documents of it, and computes without our shortcuts."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

from rrl_agents.environments.balloon import (
    NUM_ACTIONS,
    OBSERVATION_SIZE,
    STATION_RADIUS_METRES,
    Balloon,
)
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.networks.mlp import mlp
from services.launcher.presets import BALLOON_PERCIATELLI, PRESETS
from services.library.catalogue import locate
from services.teacher.policies.entry_point import card_of_policy, make_policy

DOWN, STAY, UP = range(3)


@pytest.fixture(scope="module")
def balloon() -> Balloon:
    return Balloon()


def test_the_first_step_gives_the_reward_that_the_package_documents(balloon: Balloon) -> None:
    # Seed 0, down: 0.26891438. It depends on random numbers, wind, physics and features.
    balloon.reset(seed=0)
    _, reward, terminated, truncated, _ = balloon.step(np.int64(DOWN))
    assert reward == pytest.approx(0.26891438, abs=1e-8)
    assert not terminated and not truncated


def test_a_seed_is_a_flight_and_another_seed_is_another(balloon: Balloon) -> None:
    def flown(seed: int) -> np.ndarray:
        first, _ = balloon.reset(seed=seed)
        return np.stack([first] + [balloon.step(np.int64(a))[0] for a in range(NUM_ACTIONS)])

    one, other = flown(7), flown(8)
    assert one.dtype == np.float32 and one.shape == (4, 1_099)
    np.testing.assert_array_equal(one, flown(7))
    assert (one != other).any()


@pytest.fixture
def arena(balloon: Balloon) -> Any:
    """The package's, 5 hours into a flight that went up and down."""
    balloon.reset(seed=3)
    for step in range(100):
        balloon.step(np.int64(step // 10 % NUM_ACTIONS))
    return balloon._flight.arena


def test_winds_and_features_are_those_of_the_package(arena: Any) -> None:
    features = arena.feature_constructor
    balloon, process = arena.get_balloon_state(), features.windgp
    column = np.empty((181, 4))
    column[:] = (balloon.x.meters, balloon.y.meters, 0.0, balloon.time_elapsed.total_seconds())
    column[:, 2] = features.pressure_levels
    means, deviations = type(process).query_batch.replaced(process, column)
    ours, variances = process.query_batch(column)
    np.testing.assert_allclose(ours, means, rtol=0, atol=1e-9)
    # scikit-learn has a column of deviations for each of the wind's two components.
    np.testing.assert_allclose(variances, deviations[:, 0], rtol=0, atol=1e-9)

    expected, found = np.zeros((2, 1_099), np.float32)
    type(features)._add_wind_features.replaced(features, expected)
    features._add_wind_features(found)
    assert len(np.unique(expected)) > 100
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)

    # Before any measurement: the forecast.
    process.measurement_locations.clear()
    process.error_values.clear()
    for one, other in zip(
        process.query_batch(column),
        type(process).query_batch.replaced(process, column),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)

    field, where = process.wind_forecast, (balloon.x, balloon.y, 9_000.0, balloon.time_elapsed)
    np.testing.assert_allclose(
        *(
            (wind.u.meters_per_second, wind.v.meters_per_second)
            for wind in (
                field.get_forecast(*where),
                type(field).get_forecast.replaced(field, *where),
            )
        ),
        rtol=1e-6,
    )


def test_a_flight_is_the_same_with_the_packages_own_functions_and_numpys(
    balloon: Balloon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flown() -> np.ndarray:
        balloon.reset(seed=5)
        return np.stack([balloon.step(np.int64(step % NUM_ACTIONS))[0] for step in range(30)])

    ours, package = flown(), "balloon_learning_environment"
    for name in ("balloon", "solar", "stable_init", "standard_atmosphere", "thermal"):
        module = importlib.import_module(f"{package}.env.balloon.{name}")
        assert module.np is not np
        monkeypatch.setattr(module, "np", np)
    for name, function in (
        ("env.balloon.solar", "solar_calculator"),
        ("env.balloon.acs", "_PRESSURE_RATIO_POWER_TO_EFFICIENCY"),
        ("env.balloon.standard_atmosphere.Atmosphere", "reset"),
        ("env.wind_field.WindField", "get_ground_truth"),
        ("utils.spherical_geometry", "calculate_latlng_from_offset"),
        ("utils.units", "relative_distance"),
    ):
        owner = pkgutil.resolve_name(f"{package}.{name}")
        monkeypatch.setattr(owner, function, getattr(owner, function).replaced)
    # SciPy's interpolation is deprecated, and says so each time.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(ours, flown(), rtol=0, atol=1e-6)


def test_without_a_seed_the_next_flight_is_another(balloon: Balloon) -> None:
    first, _ = balloon.reset(seed=7)
    assert (balloon.reset()[0] != first).any()


@pytest.mark.parametrize(("levels_above", "action"), [(-5, DOWN), (0, STAY), (5, UP)])
def test_station_seeker_goes_to_the_level_whose_wind_blows_to_the_station(
    levels_above: int, action: int
) -> None:
    located = locate("BLE/station_seeker")
    seeker = make_policy(located)
    assert (
        card_of_policy(seeker, located).spec.misfit(
            observation_shape=(1_099,), observation_dtype="float32", num_actions=3, of="balloon"
        )
        is None
    )
    # 16 numbers of the balloon, then variance, angle and speed of 361 levels, from the highest on,
    # of which the 181st is the balloon's; those that it cannot reach are 0, 1, 1.
    observation = np.zeros(1_099, np.float32)
    # 250 km from the station: where the wind blows to counts.
    observation[7] = 0.5
    winds = observation[16:].reshape(361, 3)
    winds[:] = (0.0, 1.0, 1.0)
    winds[180] = (0.1, 0.9, 0.2)
    winds[180 - levels_above] = (0.1, 0.0, 0.2)
    (scores,) = seeker.evaluate(observation[None])
    assert scores.argmax() == action


def test_random_play_likes_all_actions_alike() -> None:
    scores = make_policy(locate("BLE/random")).evaluate(np.zeros((2, 1_099), np.float32))
    np.testing.assert_array_equal(scores, np.zeros((2, 3), np.float32))


def test_the_radius_is_where_the_reward_has_its_step(balloon: Balloon) -> None:
    # 1 within 50 km, 0.4 halved every 100 km beyond; staying costs no reward.
    for seed in range(4):
        balloon.reset(seed=seed)
        _, reward, _, _, info = balloon.step(np.int64(STAY))
        east, north, _ = info["position"]
        beyond = float(np.hypot(east, north)) - STATION_RADIUS_METRES
        expected = 1.0 if beyond <= 0 else 0.4 * 0.5 ** (beyond / 100_000.0)
        assert info["metrics"] == {"twr50": float(beyond <= 0)}
        assert reward == pytest.approx(expected, rel=1e-6)


def test_making_one_starts_no_jax_which_a_launcher_that_forks_must_not_have() -> None:
    program = (
        "from rrl_agents.environments.balloon import Balloon; Balloon();"
        "from jax._src import xla_bridge; assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
def test_it_is_flown_without_tensorflow_and_in_silence() -> None:
    program = (
        "import sys; from rrl_agents.environments.balloon import Balloon;"
        "balloon = Balloon(); balloon.reset(seed=0); balloon.step(0);"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_networks_see_all_elements_on_one_scale() -> None:
    environment = make_environment(EnvironmentConfig(name="balloon"), 1)
    spec = environment.spec
    low, high = np.asarray(spec.frame_low), np.asarray(spec.frame_high)
    assert low.shape == high.shape == spec.frame_shape
    seen = []
    # Winds differ between flights, more than within one.
    for seed in range(100, 108):
        seen.append(environment.reset(seed)[0])
        seen += [environment.step(np.asarray([step % 3])).observation[0] for step in range(10)]
    environment.close()
    scaled = 2 * (np.asarray(seen) - low) / (high - low) - 1
    # By what they are called: means of 0 and deviations of 1, if a flight's start is like the rest.
    assert abs(scaled.mean()) < 0.3
    # Each element, that is: 0.7 as they are, 0.8 by their bounds.
    assert np.median(np.abs(scaled.mean(axis=0))) < 0.3
    assert 0.5 < np.sqrt(np.mean(scaled**2)) < 1.5
    assert np.abs(scaled).max() < 20


def test_the_packages_own_student_sees_observations_as_they_are() -> None:
    network = PRESETS["tabula_rasa"][BALLOON_PERCIATELLI].network
    observations = np.random.default_rng(0).uniform(-1, 1.25, (2, OBSERVATION_SIZE))
    np.testing.assert_allclose(mlp(observations, network), observations, atol=1e-6)
