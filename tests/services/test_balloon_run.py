"""A student of the balloon's own teacher, in flights cut short: a run, stopped and resumed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rrl_agents.types import Stage
from services.launcher.balloon_presets import BALLOON_EXPERIMENTS
from services.launcher.one_process import run_in_one_process
from services.launcher.resolution import resolve
from services.launcher.settings import with_settings
from services.launcher.watching import Answer
from services.learner.checkpoint_records import newest_checkpoint
from services.learner.evaluation_records import read_records

FLIGHT_STEPS = 6

pytestmark = pytest.mark.slow


def test_a_run_of_short_flights_is_stopped_resumed_and_ends(tmp_path: Path) -> None:
    settings = {
        "environment.max_episode_steps": FLIGHT_STEPS,
        "evaluation.teacher_episodes": 2,
        "evaluation.episodes": 2,
        "evaluation.final_episodes": 3,
        "evaluation.num_envs": 2,
        "network.features": (8,),
        "teacher_steps": 12,
        "method.offline_updates": 4,
        "offline_evaluation_period": 4,
        "method.q_learning.min_replay_size": 12,
        "online_steps": 32,
        "online_evaluation_period": 5,
        "one_process": True,
    }
    experiment = resolve(with_settings(BALLOON_EXPERIMENTS["qdagger"], settings))
    run, stop = tmp_path / "run", threading.Event()

    def stop_online(answer: Answer) -> None:
        if answer.progress.stage == Stage.ONLINE:
            assert answer.episode_steps == FLIGHT_STEPS
            stop.set()

    assert not run_in_one_process(experiment, run, stop, stop_online)
    assert run_in_one_process(experiment, run, threading.Event())
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    assert checkpoint.record.progress.stage is Stage.FINISHED
    # (32 - 12) / 4
    assert checkpoint.record.progress.online_updates == 5
    records = read_records(run / "metrics" / "evaluations.jsonl")
    teacher, *_, last = records
    assert (teacher.player, last.final) == ("teacher", True)
    assert len(teacher.episode_metrics["twr50"]) == 2 and len(last.episode_metrics["twr50"]) == 3
    assert set(last.episode_steps) == {FLIGHT_STEPS}
    # The first steps of the same flights lead to much the same places.
    assert last.episode_metrics["twr50"][:2] == teacher.episode_metrics["twr50"]
