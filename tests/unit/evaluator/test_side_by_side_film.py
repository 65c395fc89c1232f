"""Films of agents: what is shown, side by side, and files that a reader of videos opens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rrl_agents.environments.registry import EnvironmentConfig, make_drawing_environment
from services.evaluator.side_by_side_film import FilmedPlayer, record_film
from services.shared.errors import UserError

CATCH = EnvironmentConfig(name="catch")
CART_POLE = EnvironmentConfig(name="gymnasium", game="CartPole-v1")


@contextlib.contextmanager
def player(
    environment: EnvironmentConfig, action: int, name: str = "one"
) -> Iterator[FilmedPlayer]:
    def actions(observations: NDArray[Any]) -> NDArray[np.int64]:
        return np.full(len(observations), action)

    with contextlib.closing(make_drawing_environment(environment)) as made:
        yield FilmedPlayer(name, made, actions)


def balls(seeds: range) -> list[int]:
    """Columns in which the balls of these episodes fall."""
    with contextlib.closing(make_drawing_environment(CATCH)) as environment:
        return [int(environment.reset(seed)[0, 0].argmax()) for seed in seeds]


def test_two_agents_play_the_same_episodes_side_by_side(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    with player(CATCH, 0) as left, player(CATCH, 2) as right:
        returns = record_film(
            [left, right], film, seeds=range(3), frames_per_second=10, max_seconds=60
        )
    # One goes to the left end, column 0, the other to the right one, column 4.
    columns = balls(range(3))
    assert returns == tuple(
        (1.0 if column == 0 else -1.0, 1.0 if column == 4 else -1.0) for column in columns
    )
    video = cv2.VideoCapture(str(film))
    # An episode has 10 pictures: the first frame, and 9 decisions until the ball is down.
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    assert video.get(cv2.CAP_PROP_FPS) == 10
    # Frames 10 x 5 are enlarged 24 times: 240 x 120 under a caption of 18, and a gap of 6.
    size = video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)
    assert size == (2 * 120 + 6, 258)
    last = [video.read()[1] for _ in range(10)][-1]
    row = last[18 + 9 * 24 + 12, :, 0] > 128
    shown = (
        [row[24 * column + 12] for column in range(5)],
        [row[126 + 24 * column + 12] for column in range(5)],
    )
    for paddle, pixels in zip((0, 4), shown, strict=True):
        assert pixels == [column in (paddle, columns[0]) for column in range(5)]


def test_an_environment_that_renders_is_shown_as_it_draws_itself(tmp_path: Path) -> None:
    film = tmp_path / "film.gif"
    with player(CART_POLE, 1) as only:
        assert only.frames_per_second == 50
        (returned,) = record_film([only], film, seeds=[0], frames_per_second=50, max_seconds=60)
    with Image.open(film) as image:
        assert image.size == (600, 418)
        # Of 50 steps a second every second one is shown, for 40 ms, and the last one.
        assert image.info["duration"] == 40
        steps = int(returned[0])
        assert image.n_frames == len({*range(0, steps, 2), steps})


def test_a_film_ends_after_its_time_and_returns_what_was_shown_whole(tmp_path: Path) -> None:
    film = tmp_path / "film.gif"
    with player(CATCH, 1) as only:
        returns = record_film([only], film, seeds=range(100), frames_per_second=10, max_seconds=1.5)
    assert len(returns) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]


def test_vectors_that_nothing_draws_are_refused() -> None:
    class Undrawn:
        spec = type("Spec", (), {"name": "vectors", "newest_frames": staticmethod(lambda x: x)})

        def draw(self) -> None:
            return None

        def reset(self, seed: int) -> NDArray[np.float32]:
            return np.zeros((1, 4), np.float32)

    with pytest.raises(UserError, match="vectors has nothing to show"):
        FilmedPlayer("one", Undrawn(), lambda states: np.zeros(1, np.int64))  # type: ignore[arg-type]
