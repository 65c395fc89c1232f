"""One look at roles that answer, or at a folder; real registries on real pages."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from rich.console import Console

from rrl_agents.types import Progress, Stage
from rrl_client import ClientSecurity
from services.actor.behaviours import Annotator
from services.actor.metrics import ActorMetrics
from services.cli.status.run_status import Checkpoint, Role, RunStatus, look
from services.cli.status.view import render, to_json
from services.launcher.progress_display import StageBars
from services.launcher.run_addresses import RunAddresses
from services.learner.checkpoint_records import RunRecord
from services.learner.checkpointing import write_checkpoint
from services.learner.evaluation_records import append_record
from services.learner.metrics import LearnerMetrics
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.learner.v1 import learner_pb2
from services.shared.errors import UserError
from services.shared.metrics import MetricsServer, make_registry
from services.shared.run_config import write_config
from tests.support.bench_rows import record

NO_ADDRESSES = RunAddresses(services={}, pages={})
DOWN = "127.0.0.1:1"


def look_at(run: Path | None = None, addresses: RunAddresses = NO_ADDRESSES) -> RunStatus:
    return look(run, addresses, ClientSecurity())


@contextlib.contextmanager
def page(registry: CollectorRegistry) -> Iterator[str]:
    """The address of a registry's page."""
    server = MetricsServer(registry)
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.close()


def drawn(found: RunStatus, bars: StageBars | None = None) -> str:
    console = Console(width=160, force_terminal=False, no_color=True)
    with console.capture() as capture:
        console.print(render(found, bars or StageBars()))
    return capture.get()


def make_run(folder: Path) -> None:
    progress = Progress(
        random_return=-1.0,
        teacher_return=3.0,
        student_return=0.0,
        stage=Stage.ONLINE,
        teacher_steps=100,
        online_updates=25,
        actor_steps=120,
    )
    budgets = {"teacher_steps": 100, "offline_updates": 0, "online_steps": 220}
    write_config(folder, {"budgets": budgets, "method": "qdagger"})
    written = RunRecord(progress=progress, seconds=12.0)
    write_checkpoint(folder, {"x": 1.0}, written, number=3, keep=())


def test_a_run_without_a_role_that_is_up_is_told_from_its_newest_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path)
    found = look_at(tmp_path)
    text = drawn(found)
    assert (
        "no learner is known; if one is running, give --learner-address and --metrics; this" in text
    )
    # The units and the numbers of the progress display: (0 + 1) / (3 + 1) = 0.25.
    assert "online" in text and "120 / 220 steps" in text and "offline" not in text
    assert "student 0.00 (teacher-normalised 0.25)" in text and "12 s at work" in text
    assert "newest checkpoint 3, after 25 updates, 0 s old" in text
    read = json.loads(to_json(found))
    progress = read["progress"]
    assert (read["run"], read["up"], read["roles"]) == (str(tmp_path), False, [])
    assert (progress["stage"], progress["actor_steps"]) == ("online", 120)
    assert progress["normalised_score"] == 0.25
    assert [stage["name"] for stage in progress["stages"]] == ["collect", "online"]


def test_an_evaluation_after_the_checkpoint_counts(tmp_path: Path) -> None:
    make_run(tmp_path)
    # The record's updates: 300 offline, 26 online.
    for evaluation in (record(25, 1.0), record(26, 2.0, 4.0)):
        append_record(tmp_path / EVALUATIONS_FILE, evaluation)
    assert "student 3.00 (teacher-normalised 1.00) after 326 updates" in drawn(look_at(tmp_path))


def test_a_run_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    write_config(tmp_path, {})
    found = look_at(tmp_path)
    assert found.progress is None and (found.note or "").endswith("the run has no checkpoint yet")
    assert json.loads(to_json(found))["progress"] is None


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, " " * (2**20 + 1)])
def test_a_damaged_config_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        look_at(tmp_path)


def test_a_pages_readings_are_shown_beside_its_role() -> None:
    registry, annotator = make_registry("actor", "mine"), Annotator()
    metrics = ActorMetrics(registry)
    metrics.attach(annotator, frames_per_step=4)
    metrics.finished_episode(21.0)
    for _ in range(3):
        annotator.answered_queries += 1
    with page(registry) as address:
        found = look_at(addresses=RunAddresses(services={}, pages={"actor-0": address}))
    (actor,) = found.roles
    assert (actor.name, actor.address, actor.up) == ("actor-0", address, True)
    assert actor.readings == {
        "rrl_actor_episode_return": 21.0,
        'rrl_actor_queries_total{result="unanswered"}': 0.0,
    }
    text = drawn(found)
    assert "actor-0" in text and "last return 21.00, 0 queries unanswered" in text
    assert "no learner is known" in text


def test_roles_that_do_not_answer_are_down(tmp_path: Path) -> None:
    make_run(tmp_path)
    addresses = RunAddresses(services={"learner": DOWN}, pages={"replay-0": DOWN})
    found = look_at(tmp_path, addresses)
    assert not found.up and [(role.name, role.up) for role in found.roles] == [
        ("learner", False),
        ("replay-0", False),
    ]
    assert drawn(found).count("down") == 2 and "the learner does not answer" in drawn(found)
    with pytest.raises(UserError, match="no role answers; check that the roles are up"):
        look_at(addresses=addresses)


def test_the_newest_checkpoint_is_as_old_as_the_learners_page_says() -> None:
    registry = make_registry("learner", "mine")
    LearnerMetrics(registry).checkpoint_saved(7, seconds=1.0, written_at=time.time() - 100)
    with page(registry) as address:
        found = look_at(addresses=RunAddresses(services={}, pages={address: address})).checkpoint
    assert (found.number, found.updates) == (7, None)
    assert found.age_seconds is not None and 100 <= found.age_seconds < 160


def online(actor_steps: int = 500, **losses: float) -> learner_pb2.GetProgressResponse:
    progress = learner_pb2.Progress(stage=learner_pb2.STAGE_ONLINE, actor_steps=actor_steps)
    return learner_pb2.GetProgressResponse(
        progress=progress, actor_steps_target=1000, updates_per_second=12.5, losses=losses
    )


def test_the_time_left_is_shown_where_the_rate_is_known() -> None:
    seconds, earlier = [0.0], online()
    earlier.progress.actor_steps = 250
    bars = StageBars(lambda: seconds[0])
    bars.update(earlier)
    seconds[0] = 5.0
    # 500 of 1,000 steps to go, 250 in 5 s: 50 per second.
    text = drawn(RunStatus(progress=online()), bars)
    assert "50.0 steps/s, 10 s left" in text and "12.5 updates/s" in text


@given(st.text())
def test_foreign_words_do_not_steer_the_terminal(name: str) -> None:
    role = Role(name=name, address=DOWN, up=True)
    answer = online()
    answer.losses[name.encode(errors="replace").decode()] = 1.0
    found = RunStatus(run=Path(name), note=name, progress=answer, roles=(role,))
    assert all(letter.isprintable() or letter == "\n" for letter in drawn(found))


def test_the_json_object_is_strict_json() -> None:
    checkpoint = Checkpoint(number=1, age_seconds=math.inf, updates=None)
    role = Role(name="actor", address=DOWN, up=True, readings={"x": math.nan})
    found = RunStatus(progress=online(td=math.nan), checkpoint=checkpoint, roles=(role,))
    read = json.loads(to_json(found), parse_constant=pytest.fail)
    assert read["progress"]["losses"] == {"td": None}
    assert read["checkpoint"] == {"number": 1, "age_seconds": None, "updates": None}
    assert read["roles"] == [{**dataclasses.asdict(role), "readings": {"x": None}}]
