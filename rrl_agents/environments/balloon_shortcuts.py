"""Balloon flights for a fraction of the CPU: cheaper replacements for the package's functions.

A flight of the Balloon Learning Environment takes 13 to 20 s of CPU, most of it overhead: NumPy's
functions on single numbers, scikit-learn's checks around a small Gaussian process, SciPy's around
an interpolation, the same wind computed twice. Each function here returns what the package's
returns, up to the rounding of float64; `tests/unit/environments/test_balloon.py` compares them.
Lengths are in metres, pressures in pascals, times in seconds, winds in metres per second.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
import types
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LENGTHS = np.array([357_000.0, 357_000.0, 326.0, 34_560.0])
"""Length scales of the wind's errors: metres, metres, pascals, seconds (`wind_gp`)."""

_VARIANCE, _NOISE_VARIANCE = 3.6**2, 0.05
"""Variance of a forecast's error and of a measurement's, in (m/s)^2 (`wind_gp`)."""

_EARTH_RADIUS = 6_371_000.0

_MOST_MEASUREMENTS = 150
"""More than the 120 of the last 6 hours, which are all that the package's Gaussian process uses."""

_TOLERANCE = 1e-5
"""A speed, or a distance, that has no direction (`features`)."""

_UNREACHABLE = (0.0, 1.0, 1.0)


def install() -> None:
    """Install the replacements; safe to call twice."""
    from balloon_learning_environment.env import (
        features,
        generative_wind_field,
        wind_field,
        wind_gp,
    )
    from balloon_learning_environment.env.balloon import (
        acs,
        balloon,
        solar,
        stable_init,
        standard_atmosphere,
        thermal,
    )
    from balloon_learning_environment.utils import spherical_geometry, units

    if hasattr(wind_gp.WindGP.query_batch, "replaced"):
        return
    scalars = _scalar_numpy()
    for module in (balloon, solar, stable_init, standard_atmosphere, thermal):
        module.np = scalars
    solar.solar_calculator = _replacing(solar.solar_calculator, _solar_calculator)
    spherical_geometry.calculate_latlng_from_offset = _replacing(
        spherical_geometry.calculate_latlng_from_offset, _latlng_from_offset
    )
    units.relative_distance = _replacing(
        units.relative_distance, lambda x, y: units.Distance(m=math.hypot(x.meters, y.meters))
    )
    if hasattr(acs._PRESSURE_RATIO_POWER_TO_EFFICIENCY, "tck"):
        acs._PRESSURE_RATIO_POWER_TO_EFFICIENCY = _spline(acs._PRESSURE_RATIO_POWER_TO_EFFICIENCY)
    _replace(standard_atmosphere.Atmosphere, "reset", _atmosphere_of_numbers)
    _replace(wind_gp.WindGP, "query_batch", _query_batch)
    _replace(wind_field.WindField, "get_ground_truth", _ground_truth_once)
    _replace(generative_wind_field.GenerativeWindField, "get_forecast", _forecast)
    _replace(features.PerciatelliFeatureConstructor, "_add_wind_features", _add_wind_features)


def _replace(owner: type, name: str, function: Any) -> None:
    """Keep the package's function as `replaced`; the new function gets it as its first argument."""
    original = getattr(owner, name)

    @functools.wraps(function)
    def method(self: Any, *args: Any, **named: Any) -> Any:
        return function(original, self, *args, **named)

    method.replaced = original  # type: ignore[attr-defined]
    setattr(owner, name, method)


def _replacing(original: Any, function: Any) -> Any:
    """A function that keeps the package's function as `replaced`."""
    function.replaced = original
    return function


def _scalar_numpy() -> Any:
    """NumPy, with functions for single Python numbers where physics and sun use them."""
    return types.SimpleNamespace(
        **{
            **vars(np),
            "abs": abs,
            "arccos": lambda x: math.acos(min(max(x, -1.0), 1.0)),
            "arcsin": math.asin,
            "arctan2": math.atan2,
            "clip": _clip,
            "cos": math.cos,
            "exp": math.exp,
            "floor": math.floor,
            "log": math.log,
            "sin": math.sin,
            "sqrt": math.sqrt,
            "tan": math.tan,
        }
    )


def _clip(value: Any, a_min: Any, a_max: Any) -> Any:
    """Clip a number, or a quantity with a unit, to two bounds; None for no bound."""
    if a_min is not None and value < a_min:
        return a_min
    return a_max if a_max is not None and value > a_max else value


def _spline(interpolation: Any) -> Any:
    """A two-dimensional interpolation's value at one point, without its warning on every call.

    SciPy's `interp2d`, which is deprecated, asks the same function for it.
    """
    from scipy.interpolate import bisplev

    return _replacing(interpolation, lambda x, y: bisplev(x, y, interpolation.tck))


@dataclasses.dataclass(frozen=True, slots=True)
class _Angle:
    """The part of an S2 angle that the package uses."""

    radians: float

    @property
    def degrees(self) -> float:
        return math.degrees(self.radians)


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """The part of an S2 point that the package uses."""

    latitude: _Angle
    longitude: _Angle
    is_valid = True

    def lat(self) -> _Angle:
        return self.latitude

    def lng(self) -> _Angle:
        return self.longitude


def _latlng_from_offset(center_latlng: Any, x: Any, y: Any) -> _Place:
    """The point some metres east and north of another on a sphere (the direct problem)."""
    heading = math.atan2(x.meters, y.meters)
    angle = math.hypot(x.meters, y.meters) / _EARTH_RADIUS
    latitude = center_latlng.lat().radians
    sin_from, cos_from = math.sin(latitude), math.cos(latitude)
    sin_angle, cos_angle = math.sin(angle), math.cos(angle)
    sin_to = cos_angle * sin_from + sin_angle * cos_from * math.cos(heading)
    turned = math.atan2(sin_angle * cos_from * math.sin(heading), cos_angle - sin_from * sin_to)
    longitude = math.remainder(center_latlng.lng().radians + turned, 2.0 * math.pi)
    return _Place(_Angle(math.asin(sin_to)), _Angle(longitude))


def _solar_calculator(latlng: Any, time: datetime.datetime) -> tuple[float, float, float]:
    """Elevation and azimuth of the sun in degrees, and its flux in W/m^2, by NOAA's formulas.

    Most of the work depends on the time only, so steps and the search for the next sunrise share
    it.
    """
    sin_declination, cos_declination, equation_of_time, fraction_of_day, flux = _sun(time)
    latitude, longitude = latlng.lat().radians, latlng.lng().degrees
    minutes = math.fmod(1440.0 * fraction_of_day + equation_of_time + 4.0 * longitude, 1440.0)
    hour_angle = math.radians(minutes / 4.0)
    hour_angle += math.pi if hour_angle < 0 else -math.pi
    sin_latitude, cos_latitude = math.sin(latitude), math.cos(latitude)
    cos_zenith = sin_latitude * sin_declination + cos_latitude * cos_declination * math.cos(
        hour_angle
    )
    zenith = math.acos(min(max(cos_zenith, -1.0), 1.0))
    elevation = 90.0 - math.degrees(zenith)
    cos_azimuth = (sin_latitude * math.cos(zenith) - sin_declination) / (
        cos_latitude * math.sin(zenith)
    )
    azimuth = math.degrees(math.acos(min(max(cos_azimuth, -1.0), 1.0)))
    azimuth = 180.0 + azimuth if hour_angle > 0 else 180.0 - azimuth
    return elevation + _refraction(elevation) / 3600.0, azimuth, flux


def _refraction(elevation: float) -> float:
    """Atmospheric refraction, in arc seconds, at an elevation in degrees."""
    if elevation > 85.0:
        return 0.0
    tangent = math.tan(math.radians(elevation))
    if elevation > 5.0:
        return 58.1 / tangent - 0.07 / tangent**3 + 0.000086 / tangent**5
    if elevation > -0.575:
        polynomial = 103.4 + elevation * (-12.79 + elevation * 0.711)
        return 1735.0 + elevation * (-518.2 + elevation * polynomial)
    return -20.772 / tangent


@functools.lru_cache(maxsize=4096)
def _sun(time: datetime.datetime) -> tuple[float, float, float, float, float]:
    """The quantities that depend on the time only, which is in UTC.

    Returns:
        Sine and cosine of the sun's declination; the equation of time in minutes; the fraction of
        the day that has gone; the flux in W/m^2.
    """
    fraction_of_day = int(time.timestamp()) % 86_400 / 86_400
    # Julian centuries since 2000; a proleptic ordinal of 1 is the Julian day 1721425.5.
    century = (time.toordinal() + 1_721_424.5 + fraction_of_day - 2_451_545.0) / 36_525.0
    mean_longitude = math.radians(280.46646 + century * (36_000.76983 + century * 0.0003032))
    anomaly = math.radians(357.52911 + century * (35_999.05029 - 0.0001537 * century))
    node = math.radians(125.04 - 1_934.136 * century)
    seconds = 21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))
    obliquity = math.radians(23.0 + (26.0 + seconds / 60.0) / 60.0 + 0.00256 * math.cos(node))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    center = (
        math.sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + math.sin(2.0 * anomaly) * (0.019993 - 0.000101 * century)
        + math.sin(3.0 * anomaly) * 0.000289
    )
    longitude = mean_longitude + math.radians(center - 0.00569 + 0.00478 * math.sin(node))
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    y = math.tan(obliquity / 2.0) ** 2
    equation_of_time = 4.0 * math.degrees(
        y * math.sin(2.0 * mean_longitude)
        - 2.0 * eccentricity * math.sin(anomaly)
        + 4.0 * eccentricity * y * math.sin(anomaly) * math.cos(2.0 * mean_longitude)
        - 0.5 * y * y * math.sin(4.0 * mean_longitude)
        - 1.25 * eccentricity * eccentricity * math.sin(2.0 * anomaly)
    )
    nearest = ((1 + eccentricity) / (1 - eccentricity)) ** 2
    flux = 1_366.0 * (1.0 + 0.5 * (nearest - 1.0) * math.cos(anomaly))
    return math.sin(declination), math.cos(declination), equation_of_time, fraction_of_day, flux


def _atmosphere_of_numbers(original: Any, self: Any, key: Any) -> None:
    """Use Python numbers instead of NumPy scalars, which are several times as slow."""
    original(self, key)
    for name in ("_HEIGHT_TRANSITIONS", "_lapse_rates"):
        setattr(self, name, np.asarray(getattr(self, name)).tolist())
    for name in ("_temperature_transitions", "_pressure_transitions"):
        setattr(self, name, np.asarray(getattr(self, name)).tolist())


def _ground_truth_once(
    original: Any, self: Any, x: Any, y: Any, pressure: float, elapsed_time: Any
) -> Any:
    """Reuse the wind at the start of a step, which was computed at the end of the last one."""
    where = (self.field, x.meters, y.meters, float(pressure), elapsed_time)
    last = getattr(self, "_last_ground_truth", None)
    if last is None or last[0][0] is not where[0] or last[0][1:] != where[1:]:
        last = where, original(self, x, y, pressure, elapsed_time)
        self._last_ground_truth = last
    return last[1]


def _forecast(original: Any, self: Any, x: Any, y: Any, pressure: float, elapsed_time: Any) -> Any:
    from balloon_learning_environment.env import wind_field
    from balloon_learning_environment.utils import units

    point = self._prepare_get_forecast_inputs(x, y, float(pressure), elapsed_time)
    u, v = _winds(self, point)[0].tolist()
    return wind_field.WindVector(units.Velocity(mps=u), units.Velocity(mps=v))


def _winds(field: Any, points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Winds that a field forecasts, linear between its grid's points.

    Args:
        field: The package's `GenerativeWindField`.
        points: [N, 4], kilometres east, north, pressure and hours, on the grid; places and hours
            are the same in all of them.

    Returns:
        [N, 2], eastward and northward.
    """
    east, north, pressures, hours = field._grid
    at = points.astype(np.float64)
    (i, a), (j, b), (k, c) = (
        _cell(grid, at[0, axis]) for grid, axis in ((east, 0), (north, 1), (hours, 3))
    )
    column = field.field[i : i + 2, j : j + 2, :, k : k + 2].astype(np.float64)
    column = column[0] * (1 - a) + column[1] * a
    column = column[0] * (1 - b) + column[1] * b
    column = column[:, 0] * (1 - c) + column[:, 1] * c
    return np.stack([np.interp(at[:, 2], pressures, column[:, one]) for one in (0, 1)], axis=1)


def _cell(grid: NDArray[np.float32], value: float) -> tuple[int, float]:
    """The interval of an ascending grid that holds a value, and the position in it, from 0 to 1."""
    index = min(max(int(np.searchsorted(grid, value, side="right")) - 1, 0), len(grid) - 2)
    low, high = float(grid[index]), float(grid[index + 1])
    return index, (value - low) / (high - low)


def _query_batch(
    original: Any, self: Any, locations: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Winds of a column: the forecast, and a Gaussian process of its errors at what was measured.

    Regression as Rasmussen and Williams (2006), algorithm 2.1, with the package's Matérn kernel of
    order 1/2. Places and times of the column are the same in all rows.

    Returns:
        Means, [N, 2], and variances as shares of the prior's, [N].
    """
    from balloon_learning_environment.utils import units
    from scipy.linalg.lapack import dpotrf, dtrtrs

    if not self.measurement_locations:
        forecast: tuple[NDArray[np.float64], NDArray[np.float64]] = original(self, locations)
        return forecast
    measured = np.array(self.measurement_locations[-_MOST_MEASUREMENTS:])
    errors = np.array(self.error_values[-_MOST_MEASUREMENTS:])
    fresh = np.abs(measured[:, 3] - locations[0, 3]) < self.time_horizon
    measured, errors = measured[fresh], errors[fresh]
    covariance = _covariance(measured, measured)
    covariance.flat[:: len(measured) + 1] += _NOISE_VARIANCE
    lower, _ = dpotrf(covariance, lower=1)
    # Both at once: half of the mean's solution, and the part of the variance that is explained.
    solved, _ = dtrtrs(lower, np.hstack([_covariance(measured, locations), errors]), lower=1)
    explained, halves = solved[:, :-2], solved[:, -2:]
    x, y = (units.Distance(m=one) for one in locations[0, :2])
    hours = datetime.timedelta(seconds=locations[0, 3])
    points = self.wind_forecast._prepare_get_forecast_inputs(x, y, locations[:, 2], hours)
    means = explained.T @ halves + _winds(self.wind_forecast, points)
    return means, 1 - np.einsum("ij,ij->j", explained, explained) / _VARIANCE


def _covariance(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance of the forecast's errors at N points and M others, [N, M]."""
    from scipy.spatial.distance import cdist

    distances: NDArray[np.float64] = cdist(one / _LENGTHS, other / _LENGTHS)
    return _VARIANCE * np.exp(-distances)


def _add_wind_features(original: Any, self: Any, feature_vector: NDArray[np.float32]) -> None:
    """Three numbers per level, the balloon's own in the middle: variance, angle, speed.

    The angle is from the wind to the station, as a share of a half turn; speeds are squashed to
    below 1. A level that the balloon cannot reach is sure to blow away from the station at once.
    """
    from balloon_learning_environment.env.balloon import pressure_range_builder

    balloon, levels = self._last_balloon_state, self.pressure_levels
    place = np.array([balloon.x.meters, balloon.y.meters])
    time = balloon.time_elapsed.total_seconds()
    column = np.column_stack([np.tile(place, (len(levels), 1)), levels, np.full(len(levels), time)])
    winds, variances = self.windgp.query_batch(column)
    reachable = pressure_range_builder.get_pressure_range(balloon, self._atmosphere)
    within = (levels >= reachable.min_pressure) & (levels <= reachable.max_pressure)

    speeds, distance = np.hypot(winds[:, 0], winds[:, 1]), np.hypot(*place)
    cosines = (winds @ -place) / ((speeds + _TOLERANCE) * (distance + _TOLERANCE))
    angles = np.arccos(np.clip(cosines, -1.0, 1.0)) / np.pi
    angles[speeds < _TOLERANCE] = 1.0
    if distance < _TOLERANCE:
        angles[:] = 0.0
    rows = np.stack([variances, angles, speeds / (speeds + 30.0)], axis=1)
    wind = feature_vector[16:].reshape(-1, 3)
    wind[:] = _UNREACHABLE
    first = len(levels) - 1 - self._nearest_pressure_level(balloon.pressure)
    wind[first : first + len(levels)][within] = rows[within]
