"""`rrl status` of roles that listen, and of a run of `rrl train` from its start to its rest."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.registry import Collector

from rrl_agents.types import Progress, Stage
from services.actor.behaviours import Annotator
from services.actor.metrics import ActorMetrics
from services.cli.main import run as rrl
from services.learner.checkpoint_records import RunRecord
from services.learner.checkpointing import write_checkpoint
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.metrics import LearnerMetrics
from services.learner.published_weights import PublishedWeights
from services.learner.v1 import learner_pb2
from services.learner.weight_server import weight_server
from services.shared.metrics import MetricsServer, make_registry
from services.shared.run_config import write_config
from tests.support.patience import PATIENCE_SECONDS

RRL = Path(sys.executable).parent / "rrl"


class OnlineRun:
    """A run in the middle of its online stage, for a weight server to show."""

    def __init__(self) -> None:
        self.session = "one"
        self.acting, self.evaluation = PublishedWeights(), PublishedWeights()
        self.progress = Progress(
            random_return=0.0,
            teacher_return=2.0,
            student_return=1.0,
            evaluated_updates=120,
            stage=Stage.ONLINE,
            actor_steps=500,
            weaning_weight=0.5,
        )

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        return learner_pb2.GetProgressResponse(
            progress=progress_to_proto(self.progress),
            actor_steps_target=1000,
            updates_per_second=7.0,
            saved=progress_to_proto(dataclasses.replace(self.progress, online_updates=123)),
        )

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        return self.progress


@pytest.fixture
def own_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_roles_elsewhere_are_asked_at_their_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    learner, actor = make_registry("learner", "far"), make_registry("actor", "far")
    LearnerMetrics(learner).checkpoint_saved(3, seconds=0.1, written_at=time.time())
    ActorMetrics(actor).attach(Annotator(), frames_per_step=4)
    pages = [MetricsServer(learner), MetricsServer(actor)]
    server = weight_server(OnlineRun(), host="127.0.0.1", port=0)
    try:
        given = ["--learner-address", f"127.0.0.1:{server.start()}"]
        given += ["--metrics", *(f"http://127.0.0.1:{page.port}/metrics" for page in pages)]
        twice = f"127.0.0.1:{pages[1].port}"
        assert rrl(["status", *given, twice, "127.0.0.1:1", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert rrl(["status", *given]) == 0
        text = capsys.readouterr().out
    finally:
        server.stop(0.0)
        for page in pages:
            page.close()
    progress = found["progress"]
    assert (found["up"], progress["stage"], progress["updates_per_second"]) == (True, "online", 7.0)
    assert progress["stages"] == [{"name": "online", "unit": "steps", "done": 500, "target": 1000}]
    assert progress["normalised_score"] == 0.5
    assert (found["checkpoint"]["number"], found["checkpoint"]["updates"]) == (3, 123)
    # The learner, asked at its address and on its page, the actor, and a page that does not exist.
    assert [(role["name"], role["up"]) for role in found["roles"]] == [
        ("learner", True),
        ("actor", True),
        ("unknown", False),
    ]
    assert text.count("learner") == 1
    assert "online" in text and "500 / 1,000 steps" in text and "lambda 0.50" in text
    assert "student 1.00 (teacher-normalised 0.50) after 120 updates" in text
    assert "newest checkpoint 3, after 123 updates" in text


@pytest.mark.usefixtures("own_signals")
def test_a_learner_that_is_away_leaves_the_others_and_its_checkpoint_to_tell_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path, {})
    progress = Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=9)
    record = RunRecord(progress=progress, seconds=1.0)
    write_checkpoint(tmp_path, {"x": 1.0}, record, number=2, keep=())
    actor = make_registry("actor", "far")
    ActorMetrics(actor)
    page = MetricsServer(actor)
    try:
        given = ["--learner-address=127.0.0.1:1", f"--metrics=127.0.0.1:{page.port}"]
        assert rrl(["status", str(tmp_path), *given, "--json"]) == 0
    finally:
        page.close()
    found = json.loads(capsys.readouterr().out)
    assert found["up"] and found["note"].startswith("the learner does not answer")
    assert (found["progress"]["stage"], found["checkpoint"]["number"]) == ("online", 2)
    assert [(role["name"], role["up"]) for role in found["roles"]] == [
        ("learner", False),
        ("actor", True),
    ]


@pytest.mark.usefixtures("own_signals")
def test_watching_goes_on_until_it_is_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    actor = make_registry("actor", "far")
    ActorMetrics(actor)
    looks = InterruptAfter(5)
    actor.register(looks)
    page = MetricsServer(actor)
    try:
        given = [f"--metrics=127.0.0.1:{page.port}", "--interval=0.1", "--watch"]
        assert rrl(["status", *given]) == 0
    finally:
        page.close()
    assert len(re.findall("actor +up", capsys.readouterr().out)) == 5


class InterruptAfter(Collector):
    """Presses Ctrl-C when the page has been looked at so often, once."""

    def __init__(self, looks: int) -> None:
        self._left = looks

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return ()


def status(run: Path, *flags: str) -> dict[str, Any]:
    done = subprocess.run(
        [RRL, "status", run, "--json", *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_run_on_this_machine_is_found_by_its_folder(catch_teacher: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert not run.exists()
    command = [RRL, "train", "qdagger", "--run", run, f"--teacher.checkpoint={catch_teacher}"]
    command += ["--environment.name=catch", "--network.name=mlp", "--network.features", "16"]
    command += ["--teacher-steps=400", "--online-steps=1000000", "--replay-capacity=20000"]
    command += ["--method.offline-updates=20", "--method.q-learning.min-replay-size=200"]
    command += ["--checkpoint-period-seconds=2", "--num-actors=1", "--envs-per-actor=2"]
    with (tmp_path / "out").open("wb") as out:
        launcher = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        found = wait_for_online(run, launcher)
    finally:
        launcher.send_signal(signal.SIGINT)
        launcher.wait(900)
    assert found["up"] and all(role["up"] for role in found["roles"])
    readings = {role["name"]: role["readings"] for role in found["roles"]}
    assert readings.keys() == {"teacher", "replay-0", "learner", "evaluator", "actor-0"}
    assert readings["actor-0"]["rrl_actor_weights_lag_updates"] >= 0
    assert readings["replay-0"]["rrl_replay_items"] > 200
    assert readings["replay-0"]["rrl_replay_samples_per_insert_target"] == 8.0
    assert found["checkpoint"]["age_seconds"] < 120
    # No role is up any more: the folder tells.
    rest = status(run)
    assert not rest["up"] and rest["progress"]["stage"] == "online" and rest["roles"] == []
    assert "no learner is known" in rest["note"]
    assert rest["progress"]["stages"][0]["done"] >= 400
    assert np.isfinite(rest["progress"]["random_return"])


def wait_for_online(run: Path, launcher: subprocess.Popen[bytes]) -> dict[str, Any]:
    """A status of the online stage, with a replay ratio."""
    end = time.monotonic() + 900
    while True:
        assert launcher.poll() is None and time.monotonic() < end
        time.sleep(1.0)
        if not (run / "config.json").exists():
            continue
        found = status(run)
        progress = found["progress"] or {"stage": None, "updates_per_second": 0.0}
        readings = {metric for role in found["roles"] for metric in role["readings"]}
        learns = progress["stage"] == "online" and progress["updates_per_second"] > 0
        if learns and "rrl_replay_samples_per_insert" in readings:
            return found
