"""Draw one flight of a run's student: its track around the station, and the winds that it rode.

    python docs/results/balloon/draw_flight.py RUN --seed 0 --out flight.png

Above, the track: the circle is the 50 km within which a step counts for TWR50; arrows are the wind
at the balloon. Below, the balloon's pressure over the winds that it could reach, as it saw them:
green blows to the station, red away from it. A flight takes 6 s of CPU and more.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Circle
from numpy.typing import NDArray

from rrl_agents.environments.balloon import STATION_RADIUS_METRES, Balloon
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import action_values, make_network
from services.launcher.trained_student import read_student

PRESSURES = np.linspace(5_000.0, 14_000.0, 181)
"""Pascals of the levels that an observation shows winds of."""

HOURS_PER_STEP = 0.05


def fly(run: Path, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """A flight of the student, greedily.

    Returns:
        Where it was after each step: [T, 3], km east and north, and Pa. The winds' angles to the
        station as shares of a half turn, [T, 181], where it could reach them, else NaN. TWR50.
    """
    student = read_student(run, "student")
    card, params = student.teacher.card, student.teacher.params
    assert card.network is not None
    network = make_network(card.network, card.num_actions)
    values = jax.jit(lambda state: action_values(network, params, state[None])[0])
    balloon = Balloon()
    observation, _ = balloon.reset(seed=seed)
    places, angles, within = [], [], []
    for _ in range(EnvironmentConfig(name="balloon").episode_steps):
        action = np.int64(np.asarray(values(observation)).argmax())
        observation, _, terminated, _, info = balloon.step(action)
        east, north, pressure = info["position"]
        places.append((east / 1e3, north / 1e3, pressure))
        angles.append(_angles(observation, pressure))
        within.append(info["metrics"]["twr50"])
        if terminated:
            break
    return np.array(places), np.array(angles), float(np.mean(within))


def _angles(observation: NDArray[np.float32], pressure: float) -> NDArray[np.float64]:
    """Of the winds of each level; an observation has the balloon's own level in the middle."""
    variance, angle, speed = observation[16:].reshape(-1, 3).T.astype(np.float64)
    angle[(variance == 0.0) & (angle == 1.0) & (speed == 1.0)] = np.nan
    own = int(np.abs(PRESSURES - pressure).argmin())
    first = len(PRESSURES) - 1 - own
    column: NDArray[np.float64] = angle[first : first + len(PRESSURES)]
    return column


def draw(run: Path, seed: int, out: Path) -> None:
    """Fly, and write the picture."""
    places, angles, twr50 = fly(run, seed)
    hours = HOURS_PER_STEP * np.arange(1, len(places) + 1)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(8, 10), height_ratios=(3, 2), layout="constrained"
    )
    figure.suptitle(f"Seed {seed}: {twr50:.0%} of the steps within 50 km of the station")
    above.add_patch(Circle((0, 0), STATION_RADIUS_METRES / 1e3, color="tab:green", alpha=0.15))
    above.plot(0, 0, "k+", markersize=12, label="station")
    track = above.scatter(places[:, 0], places[:, 1], c=hours, s=8, cmap="viridis")
    some = slice(None, -1, 40)
    winds = np.diff(places[:, :2], axis=0)[some]
    above.quiver(*places[some, :2].T, *winds.T, width=0.003, color="0.4")
    above.plot(*places[0, :2], "o", color="tab:red", label="start")
    above.set(xlabel="km east", ylabel="km north", aspect="equal")
    above.legend(loc="best")
    figure.colorbar(track, ax=above, label="hours")
    mesh = below.pcolormesh(hours, PRESSURES / 100, angles.T, cmap="RdYlGn_r", vmin=0, vmax=1)
    below.plot(hours, places[:, 2] / 100, "k", linewidth=1.5, label="balloon")
    below.set(xlabel="hours", ylabel="hPa", ylim=(140, 50))
    below.legend(loc="best")
    figure.colorbar(mesh, ax=below, label="wind: 0 to the station, 1 away from it")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run on the balloon")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("flight.png"))
    arguments = parser.parse_args()
    draw(arguments.run, arguments.seed, arguments.out)
