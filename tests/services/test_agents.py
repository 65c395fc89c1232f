"""`rrl evaluate` and `rrl play`: a run, one of its checkpoints, a teacher and a service."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from services.cli.main import run as rrl
from services.launcher.one_process import run_in_one_process
from services.launcher.resolution import resolve
from services.launcher.settings import with_settings
from services.shared.addresses import free_port
from services.teacher.policies.loading import load_policy
from tests.services.test_served_teacher import QUICK, serving
from tests.support.experiments import catch_config
from tests.support.policies import PixelSums

FIXTURES = Path(__file__).parents[1] / "fixtures" / "other_agents"


@pytest.fixture(scope="module")
def run(catch_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = with_settings(catch_config(catch_teacher), QUICK)
    assert run_in_one_process(resolve(config), folder, threading.Event())
    return folder


def evaluated(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert rrl(["evaluate", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def balls(seeds: range) -> list[int]:
    """Columns in which the balls of these episodes fall."""
    config = EnvironmentConfig(name="catch")
    with contextlib.closing(make_environment(config, 1)) as environment:
        return [int(environment.reset(seed)[0, 0].argmax()) for seed in seeds]


def test_a_teacher_is_evaluated_under_a_protocol_that_is_stated(
    capsys: pytest.CaptureFixture[str], catch_teacher: Path
) -> None:
    found = evaluated(capsys, catch_teacher, "--episodes=7", "--num-envs=3", "--epsilon=0")
    assert found["agent"] == "catch_by_hand"
    assert (found["mean_return"], found["interval"]) == (1.0, [1.0, 1.0])
    assert (found["returns"], found["steps"]) == (7 * [1.0], 7 * [9])
    assert found["random_return"] == -0.6
    assert found["protocol"] == {
        "environment": "catch",
        "game": "catch",
        "episodes": 7,
        "first_seed": 0,
        "epsilon": 0.0,
        "acts": "greedily",
        "sticky_actions": 0.0,
        "max_episode_steps": 9,
        "frames_per_step": 1,
    }
    assert rrl(["evaluate", str(catch_teacher), "--episodes=2"]) == 0
    shown = capsys.readouterr().out
    assert "2 episodes of seeds 0 to 1, acting greedily, epsilon 0.001" in shown
    assert "return    1.00 (95% interval 1.00 to 1.00" in shown


def test_flags_choose_the_environment(
    capsys: pytest.CaptureFixture[str], catch_teacher: Path
) -> None:
    found = evaluated(capsys, catch_teacher, "--environment.balls=3", "--episodes=2", "--epsilon=0")
    assert (found["mean_return"], found["steps"]) == (3.0, [29, 29])


def test_a_service_is_evaluated_on_the_same_episodes_however_many_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sums = PixelSums("ab", shape=(10, 5, 1), num_actions=3, game="catch", fails_on=None)
    with serving(sums) as address:
        alone = evaluated(
            capsys, address, "--episodes=5", "--num-envs=1", "--epsilon=0", "--first-seed=3"
        )
        together = evaluated(
            capsys, address, "--episodes=5", "--num-envs=4", "--epsilon=0", "--first-seed=3"
        )
    # The last action is the best one always: the paddle goes to column 4.
    wanted = [1.0 if column == 4 else -1.0 for column in balls(range(3, 8))]
    assert alone["returns"] == together["returns"] == wanted
    assert alone["agent"] == "pixel sums"


def test_a_run_and_its_checkpoints_are_evaluated_as_the_run_does(
    capsys: pytest.CaptureFixture[str], run: Path
) -> None:
    newest = evaluated(capsys, run)
    assert newest["agent"] == "qdagger-run"
    # Its own protocol: two episodes in the end.
    assert newest["protocol"]["episodes"] == 2
    last = sorted((run / "checkpoints").iterdir())[-1]
    assert evaluated(capsys, last) == newest
    assert rrl(["evaluate", str(run / "checkpoints" / "99")]) == 2
    assert "no undamaged checkpoint 99" in capsys.readouterr().err


def test_an_agent_that_does_not_say_its_game_needs_flags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent = str(FIXTURES / "sb3_ppo_cart_pole" / "model.zip")
    assert rrl(["evaluate", agent]) == 2
    assert "does not record its game" in capsys.readouterr().err
    game = ("--environment.name=gymnasium", "--environment.game=CartPole-v1")
    found = evaluated(capsys, agent, *game, "--episodes=2", "--environment.max-episode-steps=5")
    assert found["protocol"]["acts"] == "at temperature 1.0"
    assert found["returns"] == [5.0, 5.0]


def test_a_policy_of_a_game_that_is_none_here_needs_flags(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_game.py").write_text(
        "import numpy as np\nclass Policy:\n"
        '    name, game, version = "mine", "my game! of 2 words", "1"\n'
        '    num_actions, observation_shape, observation_dtype = 2, (3,), "float32"\n'
        '    output, temperature = "q_values", None\n'
        "    def evaluate(self, observations):\n"
        "        return np.zeros((len(observations), 2), np.float32)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "does not record its game" in errors(capsys, "evaluate", "own_game:Policy")


def errors(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert rrl([*words]) == 2
    return capsys.readouterr().err


def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], catch_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = str(catch_teacher)
    assert "AGENT is missing" in errors(capsys, "evaluate")
    assert "no teacher 'nothere'" in errors(capsys, "evaluate", "nothere")
    misfit = errors(capsys, "evaluate", teacher, "--environment.name=gymnasium")
    assert misfit.count("\n") == 1
    asterix = ("--environment.name=minatar", "--environment.game=asterix")
    assert "catch_by_hand (catch) has 3 actions" in errors(capsys, "evaluate", teacher, *asterix)
    assert "episodes" in errors(capsys, "evaluate", teacher, "--episodes=0")
    monkeypatch.setattr("services.launcher.served_teacher._READY_SECONDS", 0.2)
    away = f"localhost:{free_port()}"
    assert away in errors(capsys, "evaluate", away)
    assert "99999" in errors(capsys, "evaluate", "foo:99999")
    assert ".mp4 or .gif" in errors(capsys, "play", teacher, "--out=film.avi")
    assert "there is no directory" in errors(capsys, "play", teacher, "--out=/nothere/film.gif")


@pytest.fixture
def service(catch_teacher: Path) -> Iterator[str]:
    with serving(load_policy(str(catch_teacher), backend="jax", buckets=(4,))) as address:
        yield address


def test_a_run_and_a_service_are_filmed_side_by_side(
    capsys: pytest.CaptureFixture[str], run: Path, service: str, tmp_path: Path
) -> None:
    film = tmp_path / "film.gif"
    words = ["play", str(run), "--beside", service, "--out", str(film), "--epsilon=0"]
    assert rrl([*words, "--episodes=2", "--first-seed=5"]) == 0
    printed = capsys.readouterr().out
    # The teacher catches each ball.
    assert "seed 5: qdagger-run" in printed and "catch_by_hand 1\nseed 6:" in printed
    assert film.read_bytes()[:6] == b"GIF89a"
