"""Runs on Gymnasium's environments as the command line makes them, all roles in this process."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from statistics import fmean

import pytest

from rrl_agents import plugins
from rrl_agents.types import Stage
from services.cli.experiment_flags import Settings, parse
from services.launcher.experiment import Experiment
from services.launcher.one_process import run_in_one_process
from services.launcher.resolution import resolve
from services.launcher.trained_student import read_student
from services.learner.checkpoint_records import newest_checkpoint
from services.learner.evaluation_records import read_records
from services.shared.errors import UserError

EXAMPLES = Path(__file__).parents[2] / "examples"

SMALL = """
--student auto --environment.name gymnasium --teacher-steps 400 --online-steps 600
--evaluation.episodes 2 --evaluation.final-episodes 4 --evaluation.num-envs 2
--online-evaluation-period 50 --num-actors 1 --envs-per-actor 4 --replay-capacity 5000
--publish-period-updates 10 --weights-period-seconds 0.05 --pause-for-evaluation --one-process
--method.q-learning.min-replay-size 200 --method.q-learning.epsilon-decay-steps 100
"""
GRID = '''
import gymnasium
import numpy as np


class Corridor(gymnasium.Env):
    """Go right, over six cells of a grid of colours; the way there takes three steps."""

    observation_space = gymnasium.spaces.Box(0, 255, (4, 6, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(3))
        return self.seen(), {}

    def step(self, action):
        self.place = max(0, self.place + (1 if action == 2 else -1))
        return self.seen(), -1.0, self.place == 5, False, {"metrics": {"went_right": action == 2}}

    def seen(self):
        grid = np.zeros((4, 6, 3), np.uint8)
        grid[2, self.place, 1] = 255
        return grid


def make():
    return gymnasium.wrappers.TimeLimit(Corridor(), 20)
'''


@dataclasses.dataclass(frozen=True)
class Order:
    """What a command takes.

    Attributes:
        experiment: What is run.
    """

    experiment: Settings


# The preset for small environments with less than a tenth of its budget.
TINY = """
--preset small --teacher-steps 800 --method.offline-updates 300 --offline-evaluation-period 300
--online-steps 600 --method.q-learning.min-replay-size 500 --online-evaluation-period 100
--evaluation.episodes 5 --evaluation.final-episodes 10 --evaluation.teacher-episodes 5
--evaluation.num-envs 5
"""


def experiment_of(words: str, settings: str = SMALL) -> Experiment:
    words = f"{words} {settings}"
    plugins.allow(*words.split())
    return resolve(parse(Order, words.split(), "rrl order").experiment)


def finished(experiment: Experiment, run: Path) -> None:
    assert run_in_one_process(experiment, run, threading.Event())
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None and checkpoint.record.progress.stage is Stage.FINISHED


def test_the_example_teacher_teaches_cartpole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    experiment = experiment_of(
        "qdagger --environment.game CartPole-v1 --teacher.checkpoint own_policy:make_teacher "
        "--method.offline-updates 200 --method.distillation.temperature 1"
    )
    assert experiment.card is not None and experiment.card.game == "CartPole-v1"
    assert experiment.spec.observation_shape == experiment.card.observation_shape == (4,)
    finished(experiment, tmp_path / "run")
    records = read_records(tmp_path / "run" / "metrics" / "evaluations.jsonl")
    (teacher,) = [record for record in records if record.player == "teacher"]
    # A random policy lasts about 22 steps, the teacher until it is cut off.
    assert min(teacher.episode_returns) > 200


# CartPole's teacher and the corridor's class are the quick ones.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "teacher", "student"),
    [
        ("own_games.docking:Docking", "own_games.docking:make_teacher", ""),
        (
            *("own_games.rooms:make_env", "own_games.rooms:make_teacher"),
            "--student auto --method.q-learning.batch-size 32 --environment.random-return 0.25",
        ),
    ],
)
def test_a_scripted_teacher_teaches_a_class_and_minigrid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, game: str, teacher: str, student: str
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))
    words = f"qdagger {student} --environment.game {game} --teacher.checkpoint {teacher}"
    experiment = experiment_of(words, TINY)
    finished(experiment, tmp_path / "run")
    records = read_records(tmp_path / "run" / "metrics" / "evaluations.jsonl")
    (taught,) = [record for record in records if record.player == "teacher"]
    # Far from chance, on the way to the teacher.
    middle = (experiment.random_return + fmean(taught.episode_returns)) / 2
    assert records[-1].final
    assert fmean(records[-1].episode_returns) > middle


def test_a_class_of_ones_own_is_learned_on_and_its_student_exported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "corridor_package.py").write_text(GRID)
    monkeypatch.syspath_prepend(tmp_path)
    game = "corridor_package:make"
    experiment = experiment_of(
        f"tabula_rasa --environment.game {game} --teacher.checkpoint None --teacher.mean-return 0"
    )
    assert (experiment.spec.name, experiment.spec.max_episode_steps) == (game, 20)
    assert experiment.config.network.name == "small_cnn"
    # Between three steps and the limit.
    assert -20 < experiment.random_return < -3
    finished(experiment, tmp_path / "run")
    records = read_records(tmp_path / "run" / "metrics" / "evaluations.jsonl")
    assert records
    for record in records:
        shares = record.episode_metrics["went_right"]
        assert len(shares) == len(record.episode_returns)
        assert all(0 <= share <= 1 for share in shares)
    card = read_student(tmp_path / "run", "mine").teacher.card
    assert (card.game, card.observation_shape) == (game, (4, 6, 3))
    # Where only the run's folder names it, it is not imported.
    monkeypatch.setattr(plugins, "_allowed", set())
    with pytest.raises((UserError, ValueError), match=f"RRL_PLUGINS={game}"):
        read_student(tmp_path / "run", "mine")
