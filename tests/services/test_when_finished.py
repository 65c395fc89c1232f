"""Roles of a finished run: they end, or stay where an orchestrator would start them again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.types import Params, Progress, Stage
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.published_weights import PublishedWeights, Snapshot
from services.learner.v1 import learner_pb2
from services.learner.weight_server import weight_server
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout
from services.replay.server import build_replay
from tests.support.patience import PATIENCE_SECONDS

LAYOUT = ItemLayout(frame_shape=(10, 5), stack_size=1, n_step=1, num_actions=3, clips_rewards=False)


class FinishedRun:
    """What a learner shows when its run is over."""

    def __init__(self, params: Params) -> None:
        self.progress = Progress(random_return=-0.6, teacher_return=1.0, stage=Stage.FINISHED)
        self.acting, self.evaluation, self.session = (
            PublishedWeights(),
            PublishedWeights(),
            "finished",
        )
        self.acting.publish(Snapshot(version=1, params=params, progress=self.progress))

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        return learner_pb2.GetProgressResponse(progress=progress_to_proto(self.progress))

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        raise AssertionError(f"a finished run is evaluated: {report}")


def actor(learner: str, replay: str, when_finished: str) -> subprocess.Popen[str]:
    command = (
        *("-m", "services.cli.main", "actor", "tabula_rasa", "--environment.name", "catch"),
        *("--network.name", "mlp", "--network.features", "2", "--teacher.mean-return", "1"),
        *("--teacher.checkpoint", "None", "--learner-address", learner),
        *("--replay-address", replay, "--when-finished", when_finished),
    )
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_an_actor_of_a_finished_run_ends_or_stays_as_it_is_told(
    catch_teacher: Path, tmp_path: Path
) -> None:
    tables = build_replay(ReplayConfig(layout=LAYOUT, checkpoint_root=tmp_path / "replay"))
    tables.start()
    learner = weight_server(
        FinishedRun(load_teacher_directory(catch_teacher).params), host="127.0.0.1", port=0
    )
    address = f"127.0.0.1:{learner.start()}"
    stays = actor(address, tables.address, "wait")
    ends = actor(address, tables.address, "exit")
    try:
        assert ends.wait(PATIENCE_SECONDS) == 0
        # It began first, and needs no longer than the other to hear that all is over.
        with pytest.raises(subprocess.TimeoutExpired):
            stays.wait(1.0)
        stays.send_signal(signal.SIGTERM)
        assert stays.wait(PATIENCE_SECONDS) == 0
    finally:
        for process in (stays, ends):
            process.kill()
            process.communicate(timeout=PATIENCE_SECONDS)
        learner.stop(0.0)
        tables.stop()
