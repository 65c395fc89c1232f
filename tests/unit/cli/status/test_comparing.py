"""Two looks at pages of real registries become rates; what nobody said stays unknown."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from rrl_agents.types import Progress, Stage
from rrl_client import PolicySpec, Priority, TeacherDescription
from rrl_client.addresses import Address
from services.actor.behaviours import Annotator
from services.actor.metrics import ActorMetrics
from services.cli.metrics_pages.page import Page, parse
from services.cli.status.command import to_json
from services.cli.status.comparing import status_of
from services.cli.status.facts import RunStatus, make_scores
from services.cli.status.sources import LearnerAnswer, Scrape, Sources
from services.cli.status.view import render
from services.launcher.progress_estimates import StageProgress
from services.learner.metrics import LearnerMetrics
from services.shared.metrics import make_registry
from services.teacher.batching.query import Query
from services.teacher.metrics import TeacherMetrics

ADDRESS = Address("127.0.0.1", 9)


def page(registry: CollectorRegistry) -> Page:
    return parse(generate_latest(registry).decode())


def answer(actor_steps: int) -> LearnerAnswer:
    return LearnerAnswer(
        progress=Progress(
            random_return=-1.0,
            teacher_return=3.0,
            student_return=1.0,
            stage=Stage.ONLINE,
            actor_steps=actor_steps,
            weaning_weight=0.5,
        ),
        stages=(StageProgress(name="online", unit="steps", done=actor_steps, target=1000),),
        updates_per_second=12.5,
        losses={"td": 0.25},
        seconds=60.0,
    )


def scrape(taken: float, answered: LearnerAnswer | None = None, **pages: Page | None) -> Scrape:
    return Scrape(taken=taken, learner=answered, pages=pages)


def status(before: Scrape, after: Scrape) -> RunStatus:
    sources = Sources(learner="127.0.0.1:1", pages=dict.fromkeys(after.pages, ADDRESS))
    return status_of("runs/mine", sources, before, after)


def drawn(found: RunStatus) -> str:
    console = Console(width=160, force_terminal=False, no_color=True)
    with console.capture() as capture:
        console.print(render(found))
    return capture.get()


def test_the_time_left_is_that_of_the_present_stage_at_the_rate_between_the_scrapes() -> None:
    found = status(scrape(10.0, answer(400)), scrape(12.0, answer(500)))
    # 50 steps per second, 500 to go.
    assert found.seconds_left == 10.0
    assert (found.stage, found.weaning_weight, found.updates_per_second) == ("online", 0.5, 12.5)
    assert found.scores.normalised_score == 0.5
    text = drawn(found)
    assert "about 10 s of this stage left" in text and "teacher-normalised 0.50" in text
    assert "learner lives" in text


def test_an_actors_rates_are_of_the_interval() -> None:
    registry, annotator = make_registry("actor", "mine"), Annotator()
    metrics = ActorMetrics(registry)
    metrics.attach(annotator, frames_per_step=4)
    metrics.stepped(100)
    before = scrape(0.0, **{"actor-0": page(registry)})
    metrics.stepped(50)
    metrics.finished_episode(21.0)
    for _ in range(3):
        annotator.note_answered()
    after = scrape(2.0, **{"actor-0": page(registry)})
    found = status(before, after)
    (actor,) = found.actors
    assert (actor.name, actor.steps_per_second, actor.episode_return) == ("actor-0", 25.0, 21.0)
    assert (actor.unanswered_queries, actor.unanswered_share) == (0, 0.0)
    assert actor.weights_age_seconds is None
    assert found.frames_per_second == 100.0
    assert found.stage is None and found.lives


def test_a_role_that_began_anew_in_between_counts_from_nothing() -> None:
    old, new = make_registry("actor", ""), make_registry("actor", "")
    ActorMetrics(old).stepped(1000)
    ActorMetrics(new).stepped(30)
    found = status(scrape(0.0, actor=page(old)), scrape(2.0, actor=page(new)))
    assert found.actors[0].steps_per_second == 15.0


def test_who_does_not_answer_is_away_and_has_no_facts() -> None:
    found = status(scrape(0.0, replay=None), scrape(2.0, replay=None))
    assert not found.lives and found.replay is None
    assert [(role.name, role.lives) for role in found.roles] == [
        ("learner", False),
        ("replay", False),
    ]
    assert drawn(found).count("AWAY") == 2


class Unread:
    """Wants no answers."""

    def settled(self, queries: Sequence[Query]) -> None:
        """Do nothing."""


def settled(metrics: TeacherMetrics, seconds: float, count: int) -> None:
    query = Query(
        np.zeros((4, 2), np.uint8),
        deadline=math.inf,
        priority=Priority.ACTING,
        client=None,
        sink=Unread(),
    )
    metrics.model("teacher").settled([query] * count, seconds)
    for _ in range(count):
        metrics.model("teacher").batch_ended(8, 0, seconds)


def test_a_teachers_latency_is_of_the_queries_in_between() -> None:
    registry = CollectorRegistry()
    metrics = TeacherMetrics(registry)
    spec = PolicySpec(num_actions=6, observation_shape=(84, 84, 4))
    about = TeacherDescription(
        game="pong",
        name="pong",
        spec=spec,
        teacher_version="x",
        max_batch_rows=1,
        model="teacher",
        backend="jax",
    )
    metrics.versions = lambda: [about]
    settled(metrics, 5.0, 100)
    before = scrape(0.0, teacher=page(registry))
    settled(metrics, 0.0015, 10)
    found = status(before, scrape(2.0, teacher=page(registry))).teacher
    assert found is not None
    # All ten lie in the bucket from 1 to 2 ms: its middle is the median.
    assert found.latency_p50_seconds == pytest.approx(0.0015)
    assert found.latency_p99_seconds == pytest.approx(0.00199)
    assert found.rows_per_second == 20.0 and found.mean_batch_rows == 8.0
    assert found.rejected_per_second == 0.0


def test_the_newest_checkpoint_is_as_old_as_the_learner_says() -> None:
    registry = make_registry("learner", "mine")
    metrics = LearnerMetrics(registry)
    metrics.checkpoint_saved(7, seconds=1.0, written_at=time.time() - 100)
    metrics.checkpoint_failed()
    found = status(scrape(0.0), scrape(2.0, learner=page(registry))).checkpoint
    assert found is not None and found.number == 7 and found.failed == 1
    assert 100 <= found.age_seconds < 160


@given(st.text())
@settings(max_examples=25)
def test_foreign_words_do_not_steer_the_terminal(name: str) -> None:
    registry = make_registry("actor", name)
    ActorMetrics(registry)
    found = status(scrape(0.0), scrape(1.0, actor=page(registry)))
    found = dataclasses.replace(found, run=name, note=name, losses={name: 1.0})
    assert all(letter.isprintable() or letter == "\n" for letter in drawn(found))


def test_the_json_object_is_strict_json() -> None:
    found = RunStatus(run=None, lives=True, frames_per_second=math.nan, seconds_left=math.inf)
    read = json.loads(to_json(found), parse_constant=pytest.fail)
    assert read["frames_per_second"] is None and read["seconds_left"] is None
    assert set(read) == {field.name for field in dataclasses.fields(RunStatus)}


@pytest.mark.parametrize(
    ("student", "teacher", "random"), [(None, 1.0, 0.0), (1.0, None, 0.0), (1.0, 0.0, 0.0)]
)
def test_scores_without_a_scale_are_not_normalised(
    student: float | None, teacher: float | None, random: float
) -> None:
    assert make_scores(student, teacher, random).normalised_score is None
