"""Weights and returns over gRPC."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from typing import cast

import grpc
import pytest

from rrl_agents.types import Progress, Stage
from services.learner.checkpoint_records import newest_checkpoint
from services.learner.client import (
    EvaluationRefused,
    LearnerClient,
    LearnerUnavailable,
    Purpose,
)
from services.learner.codec import EvaluationReport
from services.learner.evaluation_records import read_records
from services.learner.role import build_learner
from services.learner.v1 import learner_pb2, learner_pb2_grpc
from services.replay.table_names import TEACHER_TABLE
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, is_locked, locked
from tests.support.learner_runs import (
    Workplace,
    assert_equal_trees,
    fill,
    report_final,
    short,
    state_of,
    wait_for,
    working,
)
from tests.support.patience import PATIENCE_SECONDS, wait_until


def test_weights_and_returns_travel_over_grpc(workplace: Workplace) -> None:
    learner, run = workplace.learner, workplace.run
    address = f"localhost:{workplace.config.port}"
    stop = threading.Event()
    ended: list[BaseException | None] = []

    def work_in_a_thread() -> None:
        try:
            learner.run(stop)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work_in_a_thread)
    thread.start()
    client = LearnerClient(address)
    try:
        fill(workplace.replay.address, TEACHER_TABLE)
        # Those of the offline stage may be due a moment longer than it lasts.
        due = wait_for(
            lambda: client.fetch(0, Purpose.EVALUATE),
            lambda got: got.progress.stage is Stage.ONLINE and got.version == 7,
        )
        # The offline stage is over, and the student's table is empty: nothing moves.
        newest = wait_for(lambda: client.fetch(0, Purpose.ACT), lambda got: got.version == 7)
        assert_equal_trees(newest.params, dict(state_of(learner).params))
        assert client.fetch(newest.version, Purpose.ACT).params is None
        assert not due.final
        assert_equal_trees(due.params, newest.params)

        # These weights were never played, and these returns are none.
        report = EvaluationReport(
            weights_version=7, episode_returns=(1.0, -1.0), episode_steps=(9, 9), epsilon=0.001
        )
        with pytest.raises(EvaluationRefused, match="weights 99 are not due"):
            client.report(dataclasses.replace(report, weights_version=99))
        assert refused_by_the_server(address, [float("nan")]) is grpc.StatusCode.INVALID_ARGUMENT
        assert refused_by_the_server(address, []) is grpc.StatusCode.INVALID_ARGUMENT
        assert client.progress().progress.weaning_weight == 1.0

        # These weights have not learned online yet: their return is known, and does not wean.
        progress = client.report(report)
        assert (progress.student_return, progress.online_return) == (0.0, None)
        assert (
            progress.weaning_weight == client.fetch(7, Purpose.ACT).progress.weaning_weight == 1.0
        )
        with pytest.raises(EvaluationRefused, match="weights 7 are not due"):
            client.report(report)
        (record,) = read_records(run / "metrics" / "evaluations.jsonl")
        assert (record.weights_version, record.episode_returns) == (7, (1.0, -1.0))
        assert record.stage == "online"

        # No other learner may work on this run now, or listen on its port.
        assert is_locked(run / LEARNER_LOCK)
        with (
            pytest.raises(UserError, match="in use by another process"),
            locked(run / LEARNER_LOCK),
        ):
            pass
        other = run.parent / "other"
        other.mkdir()
        second = build_learner(dataclasses.replace(workplace.config, run=other))
        with pytest.raises(UserError, match=f"{workplace.config.port}.*in use"):
            second.run(threading.Event())
        second.close()
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        client.close()
    assert ended == [None]
    # It stopped in order: with a checkpoint, and the run free for the next.
    assert newest_checkpoint(run) is not None
    assert not is_locked(run / LEARNER_LOCK)


def refused_by_the_server(address: str, returns: list[float]) -> grpc.StatusCode:
    """The status of a report that no client of ours would send."""
    with grpc.insecure_channel(address) as channel:
        stub = learner_pb2_grpc.LearnerStub(channel)
        request = learner_pb2.ReportEvaluationRequest(
            weights_version=7, episode_returns=returns, episode_steps=[9] * len(returns)
        )
        with pytest.raises(grpc.RpcError) as refused:
            stub.ReportEvaluation(request, timeout=PATIENCE_SECONDS)
        return cast("grpc.StatusCode", refused.value.code())


def is_gone(progress: Callable[[], Progress]) -> bool:
    try:
        progress()
    except LearnerUnavailable:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("linger_seconds", [0.5, None])
def test_a_finished_learner_answers_for_as_long_as_it_is_told_to(
    filled: Workplace, linger_seconds: float | None
) -> None:
    config = dataclasses.replace(short(filled.config), linger_seconds=linger_seconds)
    with (
        working(config) as progress,
        contextlib.closing(LearnerClient(f"localhost:{config.port}")) as client,
    ):
        last = wait_for(progress, lambda got: got.stage is Stage.FINAL_EVALUATION)
        report_final(client, updates=last.learner_updates)
        wait_for(progress, lambda got: got.stage is Stage.FINISHED)
        if linger_seconds is None:
            threading.Event().wait(1.5)
            assert progress().stage is Stage.FINISHED
        else:
            wait_until(lambda: is_gone(progress), "the learner has gone")
