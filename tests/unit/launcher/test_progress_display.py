from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import pytest

from services.launcher.progress_display import (
    ProgressDisplay,
    StageProgress,
    format_duration,
    stages,
)
from services.learner.v1.learner_pb2 import GetProgressResponse, Progress, Stage


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def answer(stage: Stage.ValueType, **progress: Any) -> GetProgressResponse:
    return GetProgressResponse(
        progress=Progress(
            stage=stage, teacher_return=-4.0, random_return=-20.0, weaning_weight=0.5, **progress
        ),
        teacher_steps_target=1_000,
        offline_updates_target=2_000,
        actor_steps_target=4_000,
    )


def plain(clock: Clock) -> tuple[ProgressDisplay, io.StringIO]:
    stream = io.StringIO()
    return ProgressDisplay(stream, clock=clock), stream


def test_a_plain_line_holds_stage_rate_time_left_lambda_and_scores() -> None:
    clock = Clock()
    display, stream = plain(clock)
    display.update(
        answer(Stage.STAGE_ONLINE, actor_steps=1_000, student_return=-12.0, evaluations=1)
    )
    clock.seconds = 10.0
    evaluated = {"student_return": -12.0, "evaluations": 1, "evaluated_updates": 2_500}
    display.update(answer(Stage.STAGE_ONLINE, actor_steps=2_000, **evaluated))
    # 1,000 steps in 10 s; the 2,000 left take 20 s; (-12 + 20) / (-4 + 20) = 0.5.
    assert stream.getvalue().splitlines()[-1] == (
        "online 2,000/4,000 steps (50%) | 100.0 steps/s, 20 s left | lambda 0.50 | "
        "student -12.00 (teacher-normalised 0.50) after 2,500 updates, teacher -4.00, random -20.00"
    )


def test_lines_come_every_five_seconds_and_at_once_for_news() -> None:
    clock = Clock()
    display, stream = plain(clock)

    def lines_after(seconds: float, response: GetProgressResponse) -> int:
        clock.seconds = seconds
        display.update(response)
        return len(stream.getvalue().splitlines())

    assert lines_after(0.0, answer(Stage.STAGE_COLLECT)) == 1
    assert lines_after(2.0, answer(Stage.STAGE_COLLECT, teacher_steps=100)) == 1
    assert lines_after(5.0, answer(Stage.STAGE_COLLECT, teacher_steps=200)) == 2
    assert lines_after(6.0, answer(Stage.STAGE_OFFLINE)) == 3  # another stage
    assert lines_after(7.0, answer(Stage.STAGE_OFFLINE, evaluations=1, student_return=-19.0)) == 4
    assert lines_after(8.0, answer(Stage.STAGE_OFFLINE, evaluations=1, student_return=-19.0)) == 4


def test_the_rate_of_one_stage_does_not_leak_into_the_next() -> None:
    clock = Clock()
    display, stream = plain(clock)
    display.update(answer(Stage.STAGE_COLLECT, teacher_steps=0))
    clock.seconds = 1.0
    display.update(answer(Stage.STAGE_OFFLINE, offline_updates=0))
    assert "left" not in stream.getvalue()


def test_a_stage_that_is_done_takes_no_more_time_however_far_it_went() -> None:
    clock = Clock()
    display, stream = plain(clock)
    for clock.seconds, steps in ((0.0, 3_000), (10.0, 4_008)):
        display.update(answer(Stage.STAGE_ONLINE, actor_steps=steps))
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith("online 4,008/4,000 steps (100%) | 100.8 steps/s, 0 s left | ")


def test_a_rate_looks_back_a_minute_and_is_none_of_steps_that_were_lost() -> None:
    clock = Clock()
    display, stream = plain(clock)
    # The learner goes back to a checkpoint after 10 s; 900 steps in 9 s are the last minute's.
    counted = ((0.0, 500), (10.0, 3_000), (20.0, 100), (75.0, 100), (80.0, 1_000), (89.0, 1_900))
    for clock.seconds, steps in counted:
        display.update(answer(Stage.STAGE_ONLINE, actor_steps=steps))
    lines = stream.getvalue().splitlines()
    assert not [line for line in lines if re.search(r"-\d.*steps/s", line)]
    assert "| 100.0 steps/s, 21 s left |" in lines[-1]


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


def test_a_note_that_is_repeated_is_shown_once() -> None:
    display, stream = plain(Clock())
    for note in ("stopping", "stopping", "stopped"):
        display.note(note)
    assert stream.getvalue() == "stopping\nstopped\n"


def test_an_answer_without_any_field_is_shown() -> None:
    display, stream = plain(Clock())
    display.update(GetProgressResponse())
    assert stream.getvalue() == "starting\n"


def test_a_stage_never_heard_of_is_shown() -> None:
    display, stream = plain(Clock())
    response = GetProgressResponse()
    response.progress.stage = 77  # type: ignore[assignment]
    display.update(response)
    assert stream.getvalue() == "starting\n"


def test_no_score_is_given_before_teacher_and_student_are_measured() -> None:
    display, stream = plain(Clock())
    display.update(
        GetProgressResponse(progress=Progress(stage=Stage.STAGE_ONLINE, random_return=-20.0))
    )
    assert stream.getvalue() == "online | lambda 0.00\n"


def test_a_student_without_a_teacher_beside_is_shown_alone() -> None:
    display, stream = plain(Clock())
    display.update(
        GetProgressResponse(progress=Progress(stage=Stage.STAGE_FINISHED, student_return=3.0))
    )
    assert stream.getvalue() == "finished | lambda 0.00 | student 3.00\n"


def test_plain_output_has_no_control_characters_whatever_is_noted() -> None:
    display, stream = plain(Clock())
    with contextlib.closing(display):
        display.note("waiting for\x1b[31m teacher\r\nλ")
        display.update(answer(Stage.STAGE_OFFLINE, offline_updates=3))
    assert re.fullmatch(r"[\x20-\x7e\n]*", stream.getvalue())
    assert len(stream.getvalue().splitlines()) == 2


def test_foreign_words_in_an_answer_do_not_steer_the_terminal() -> None:
    stream = io.StringIO()
    response = answer(Stage.STAGE_ONLINE)
    response.losses["\x1b]0;evil\x07"] = 1.0
    with contextlib.closing(ProgressDisplay(stream, interactive=True, clock=Clock())) as display:
        display.update(response)
    assert "evil" in stream.getvalue() and "\x1b]0;" not in stream.getvalue()


def test_stages_that_a_run_has_not_are_left_out() -> None:
    response = GetProgressResponse(
        progress=Progress(stage=Stage.STAGE_ONLINE), actor_steps_target=10
    )
    assert stages(response) == (StageProgress("online", "steps", 0, 10),)
    display, stream = plain(Clock())
    display.update(answer(Stage.STAGE_FINAL_EVALUATION))
    assert stream.getvalue().startswith("final evaluation | lambda 0.50 | ")


def test_a_terminal_gets_one_panel_with_every_stage_and_notes_above_it() -> None:
    stream = io.StringIO()
    clock = Clock()
    with contextlib.closing(ProgressDisplay(stream, interactive=True, clock=clock)) as display:
        display.note("waiting for processes to start [teacher]")
        display.update(GetProgressResponse())
        clock.seconds = 2.0
        display.update(answer(Stage.STAGE_OFFLINE, teacher_steps=1_000, offline_updates=500))
        display.note("evaluator: 3 of 5 episodes")
    out = stream.getvalue()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out)
    for part in ("collect", "100%", "500 / 2,000 updates", "25%", "lambda 0.50", "teacher -4.00"):
        assert part in text
    assert "start [teacher]" in text
    assert "3 of 5 episodes" in text
    # The cursor is hidden while the panel is alive, and given back.
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") > 0


def test_a_stream_that_is_no_terminal_gets_plain_lines() -> None:
    display, stream = plain(Clock())
    with contextlib.closing(display):
        display.update(answer(Stage.STAGE_OFFLINE))
    assert "\x1b" not in stream.getvalue()
