"""Queries about recorded states, through teacher services that go away and come back changed."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.environments import catch
from services.recorded_data.retrying_teacher import RetryingTeacherClient, Stopped
from services.shared.addresses import free_port
from services.shared.errors import UserError
from services.teacher.config import ModelConfig, TeacherConfig
from services.teacher.server import build_teacher
from tests.support.patience import PATIENCE_SECONDS, wait_until

STATES = np.zeros((2, catch.ROWS, catch.COLUMNS, 1), np.uint8)


@contextlib.contextmanager
def serving(teacher: Path, port: int) -> Iterator[None]:
    models = (ModelConfig(reference=str(teacher)),)
    server = build_teacher(
        TeacherConfig(models=models, port=port, metrics_port=None, backend="jax")
    )
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield
    server.stop(0.0)


def client(port: int, **changes: object) -> RetryingTeacherClient:
    settings = {"timeout_seconds": 0.5, **changes}
    return RetryingTeacherClient(f"127.0.0.1:{port}", **settings)  # type: ignore[arg-type]


def test_a_query_is_sent_again_until_a_teacher_answers(
    catch_teacher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    with client(port) as teacher:
        with serving(catch_teacher, port):
            teacher.wait_until_ready()
        pending = teacher.ask(STATES)
        wait_until(lambda: "waiting for the teacher" in caplog.text)
        assert not pending.done()
        with serving(catch_teacher, port):
            assert pending.result(PATIENCE_SECONDS).shape == (2, catch.NUM_ACTIONS)


def test_without_an_answer_for_long_the_pass_ends() -> None:
    port = free_port()
    with (
        client(port, give_up_seconds=0.0) as teacher,
        pytest.raises(UserError, match=f"127.0.0.1:{port}"),
    ):
        teacher.ask(STATES).result(PATIENCE_SECONDS)


def test_a_stop_ends_every_wait() -> None:
    stop = threading.Event()
    with client(free_port(), stop=stop) as teacher:
        pending = teacher.ask(STATES)
        stop.set()
        with pytest.raises(Stopped):
            pending.result(PATIENCE_SECONDS)
        with pytest.raises(Stopped):
            teacher.wait_until_ready()


def test_leaving_the_client_ends_what_is_under_way() -> None:
    with client(free_port()) as teacher:
        pending = [teacher.ask(STATES) for _ in range(30)]
    assert all(query.done() for query in pending)


def test_scores_of_other_parameters_than_at_first_are_refused(
    catch_teacher: Path, tmp_path: Path
) -> None:
    first = load_teacher_directory(catch_teacher)
    params = jax.tree.map(lambda leaf: 2.0 * np.asarray(leaf), first.params)
    sha256 = params_hash(params_to_bytes(params))
    save_teacher(
        tmp_path / "other", params, dataclasses.replace(first.card, parameters_sha256=sha256)
    )
    port = free_port()
    with client(port, timeout_seconds=PATIENCE_SECONDS) as teacher:
        with serving(catch_teacher, port):
            teacher.wait_until_ready()
        with (
            serving(tmp_path / "other", port),
            pytest.raises(UserError, match="changed its teacher from .* serve the first one"),
        ):
            teacher.ask(STATES).result(PATIENCE_SECONDS)


def test_states_of_another_shape_end_the_pass(catch_teacher: Path) -> None:
    port = free_port()
    with serving(catch_teacher, port), client(port, timeout_seconds=PATIENCE_SECONDS) as teacher:
        teacher.describe()
        with pytest.raises(UserError, match="refuses the recorded states"):
            teacher.ask(STATES[:, :4]).result(PATIENCE_SECONDS)
