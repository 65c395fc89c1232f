from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any

import pytest

from services.launcher.progress_display import (
    ProgressDisplay,
    StageProgress,
    format_duration,
    stages,
)
from services.learner.v1.learner_pb2 import GetProgressResponse, Progress, Stage


def answer(stage: Stage.ValueType, **progress: Any) -> GetProgressResponse:
    return GetProgressResponse(
        progress=Progress(
            stage=stage, teacher_return=-4.0, random_return=-20.0, weaning_weight=0.5, **progress
        ),
        teacher_steps_target=1_000,
        offline_updates_target=2_000,
        actor_steps_target=4_000,
    )


def lines(*answers: tuple[float, GetProgressResponse]) -> list[list[str]]:
    """What is printed in all after each answer, which comes at so many seconds."""
    clock, stream, printed = [0.0], io.StringIO(), []
    display = ProgressDisplay(stream, clock=lambda: clock[0])
    for clock[0], response in answers:
        display.update(response)
        printed.append(stream.getvalue().splitlines())
    return printed


def online(*steps: tuple[float, int]) -> str:
    """The last line after so many steps at so many seconds."""
    answers = [(at, answer(Stage.STAGE_ONLINE, actor_steps=done)) for at, done in steps]
    return lines(*answers)[-1][-1]


def test_a_plain_line_holds_stage_rate_time_left_lambda_and_scores() -> None:
    first = answer(Stage.STAGE_ONLINE, actor_steps=1_000, student_return=-12.0, evaluations=1)
    evaluated = {"student_return": -12.0, "evaluations": 1, "evaluated_updates": 2_500}
    second = answer(Stage.STAGE_ONLINE, actor_steps=2_000, **evaluated)
    # 1,000 steps in 10 s; the 2,000 left take 20 s; (-12 + 20) / (-4 + 20) = 0.5.
    assert lines((0.0, first), (10.0, second))[-1][-1] == (
        "online 2,000/4,000 steps (50%) | 100.0 steps/s, 20 s left | lambda 0.50 | "
        "student -12.00 (teacher-normalised 0.50) after 2,500 updates, teacher -4.00, random -20.00"
    )


def test_slow_play_is_counted_in_episodes_and_scored_by_the_environments_metrics() -> None:
    first = answer(Stage.STAGE_ONLINE, actor_steps=1_000, student_return=-12.0)
    first.episode_steps = 500
    first.evaluation_metrics["twr50"] = 0.25
    assert lines((0.0, first))[-1][-1] == (
        "online 1,000/4,000 steps (25%) | 2.0 of 8 episodes | lambda 0.50 | "
        "student -12.00 (teacher-normalised 0.50), twr50 0.250, teacher -4.00, random -20.00"
    )


def test_a_line_says_when_everything_waits_for_an_evaluation() -> None:
    final = answer(Stage.STAGE_FINAL_EVALUATION)
    final.awaited_updates = 14_500
    collect = answer(Stage.STAGE_COLLECT, teacher_steps=1_000)
    collect.awaits_teacher_return = True
    first, second = lines((0.0, collect), (10.0, final))[-1]
    assert "collect 1,000/1,000 steps (100%) | waiting for the evaluation of the teacher" in first
    assert second.startswith("final evaluation | waiting for the evaluation of update 14,500 | ")
    # Update 0 is one, too.
    final.awaited_updates = 0
    assert "evaluation of update 0 |" in lines((0.0, final))[-1][-1]


def test_who_is_awaited_is_a_line_whenever_somebody_is_ready_and_every_five_seconds() -> None:
    clock, stream = [0.0], io.StringIO()
    display = ProgressDisplay(stream, clock=lambda: clock[0])
    awaited = {"teacher": False, "learner": False}
    for clock[0], teacher in ((0.0, False), (1.0, False), (4.0, True), (8.9, True), (9.0, True)):
        display.starting(awaited | {"teacher": teacher})
    assert stream.getvalue().splitlines() == [
        "starting, 0 s: teacher ..., learner ...",
        "starting, 4 s: teacher ready, learner ...",
        "starting, 9 s: teacher ready, learner ...",
    ]


def test_the_first_steps_are_shown_at_once() -> None:
    printed = lines(
        (0.0, answer(Stage.STAGE_COLLECT)),
        (1.0, answer(Stage.STAGE_COLLECT, teacher_steps=8)),
        (2.0, answer(Stage.STAGE_COLLECT, teacher_steps=16)),
    )
    assert [line.split(" steps")[0] for line in printed[-1]] == [
        "collect 0/1,000",
        "collect 8/1,000",
    ]


def test_lines_come_every_five_seconds_and_at_once_for_news() -> None:
    scored = answer(Stage.STAGE_OFFLINE, evaluations=1, student_return=-19.0)
    printed = lines(
        (0.0, answer(Stage.STAGE_COLLECT)),
        (2.0, answer(Stage.STAGE_COLLECT, teacher_steps=100)),  # the first steps
        (5.0, answer(Stage.STAGE_COLLECT, teacher_steps=200)),
        (6.0, answer(Stage.STAGE_OFFLINE)),  # another stage
        (7.0, scored),
        (8.0, scored),
    )
    assert [len(after) for after in printed] == [1, 2, 2, 3, 4, 4]


def test_the_rate_of_one_stage_does_not_leak_into_the_next() -> None:
    collected = answer(Stage.STAGE_COLLECT, teacher_steps=0)
    offline = answer(Stage.STAGE_OFFLINE, offline_updates=0)
    assert "left" not in "".join(lines((0.0, collected), (1.0, offline))[-1])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # 1,008 steps in 10 s; a stage that is done takes no more time, however far it went.
        (
            [(0.0, 3_000), (10.0, 4_008)],
            "online 4,008/4,000 steps (100%) | 100.8 steps/s, 0 s left",
        ),
        # The learner goes back to a checkpoint after 10 s: what it lost is not a step backwards.
        ([(0.0, 500), (10.0, 3_000), (20.0, 100)], "online 100/4,000 steps (2%) | 250.0 steps/s"),
        # 900 steps in 9 s are all of the last minute.
        ([(0.0, 500), (10.0, 3_000), (80.0, 3_100), (89.0, 4_000)], "| 100.0 steps/s, 0 s left"),
    ],
)
def test_a_rate_is_that_of_the_last_minute(
    steps: Sequence[tuple[float, int]], expected: str
) -> None:
    assert expected in online(*steps)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185.0, "3 min 05 s"),
        (3_599.6, "1 h 00 min"),
        (7_640.0, "2 h 07 min"),  # 2 * 3600 + 7 * 60 + 20
    ],
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(), "starting"),
        # A stage never heard of.
        (Progress(stage=77), "starting"),  # type: ignore[arg-type]
        # No score is given before teacher and student are measured.
        (Progress(stage=Stage.STAGE_ONLINE, random_return=-20.0), "online | lambda 0.00"),
        (
            Progress(stage=Stage.STAGE_FINISHED, student_return=3.0),
            "finished | lambda 0.00 | student 3.00",
        ),
        (Progress(stage=Stage.STAGE_FINAL_EVALUATION), "final evaluation | lambda 0.00"),
    ],
)
def test_what_is_unknown_is_left_out(progress: Progress, line: str) -> None:
    assert lines((0.0, GetProgressResponse(progress=progress))) == [[line]]


def test_one_rate_of_updates_is_shown() -> None:
    def rates(stage: Stage.ValueType, **done: int) -> str:
        at = [answer(stage, **{name: half * n for name, n in done.items()}) for half in (1, 2)]
        for response in at:
            response.updates_per_second = 7.5
        return lines((0.0, at[0]), (10.0, at[1]))[-1][-1].split(" | lambda")[0]

    assert rates(Stage.STAGE_OFFLINE, offline_updates=100).endswith(
        "| 10.0 updates/s, 3 min 00 s left"
    )
    assert rates(Stage.STAGE_ONLINE, actor_steps=1_000).endswith("20 s left | 7.5 updates/s")


def test_speed_losses_time_and_a_failure_to_save_are_told() -> None:
    response = GetProgressResponse(
        progress=Progress(stage=Stage.STAGE_OFFLINE),
        saved=Progress(offline_updates=1_000),
        updates_per_second=12.34,
        losses={"td": 0.5, "distill": 1.0},
        seconds=61.0,
        checkpoint_failure="no space",
    )
    assert lines((0.0, response)) == [
        [
            "offline | 12.3 updates/s | lambda 0.00 | loss distill 1 td 0.5 | "
            "1 min 01 s at work | NOT SAVED since update 1,000: no space"
        ]
    ]


def test_plain_output_has_no_control_characters_and_repeats_no_note() -> None:
    stream = io.StringIO()
    with contextlib.closing(ProgressDisplay(stream)) as display:
        display.note("waiting for\x1b[31m teacher\r\nλ")
        display.note("waiting for\x1b[31m teacher\r\nλ")
        display.update(answer(Stage.STAGE_OFFLINE, offline_updates=3))
    assert re.fullmatch(r"[\x20-\x7e\n]*", stream.getvalue())
    assert len(stream.getvalue().splitlines()) == 2


def test_stages_that_a_run_has_not_are_left_out() -> None:
    response = GetProgressResponse(
        progress=Progress(stage=Stage.STAGE_ONLINE), actor_steps_target=10
    )
    assert stages(response) == (StageProgress("online", "steps", 0, 10),)


def test_a_terminal_gets_one_panel_with_every_stage_and_notes_above_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    with contextlib.closing(ProgressDisplay(stream, interactive=True)) as display:
        display.note("waiting for processes to start [teacher]")
        display.update(GetProgressResponse())
        response = answer(Stage.STAGE_OFFLINE, teacher_steps=1_000, offline_updates=500)
        # Foreign words do not steer the terminal.
        response.losses["\x1b]0;evil\x07"] = 1.0
        display.update(response)
        display.note("evaluator: 3 of 5 episodes")
    out = stream.getvalue()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out)
    for part in ("collect", "100%", "500 / 2,000 updates", "25%", "lambda 0.50", "teacher -4.00"):
        assert part in text
    assert "start [teacher]" in text and "3 of 5 episodes" in text
    assert "evil" in text and "\x1b]0;" not in out
    # The cursor is hidden while the panel is alive, and given back.
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") > 0
