"""Live progress of a run in the terminal of the launching process.

On a terminal it is one panel that is drawn anew in place; elsewhere plain ASCII lines, one every
few seconds and one whenever the stage changes or an evaluation arrives. What is shown comes from
the learner's GetProgress answers alone; a field that was not set is left out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rrl_agents.scores import score_if_known
from rrl_agents.types import Stage
from services.launcher.progress_estimates import (
    Sample,
    StageProgress,
    extend_samples,
    format_duration,
    rate_per_second,
    seconds_left,
)

if TYPE_CHECKING:
    from services.learner.v1.learner_pb2 import GetProgressResponse, Progress

PLAIN_INTERVAL_SECONDS = 5.0
"""Time between two plain lines of one stage."""

_STAGE_NAMES = {
    Stage.COLLECT: "collect",
    Stage.OFFLINE: "offline",
    Stage.ONLINE: "online",
    Stage.FINAL_EVALUATION: "final evaluation",
    Stage.FINISHED: "finished",
}


class ProgressDisplay:
    """Shows where a run stands; use it as a context manager."""

    def __init__(
        self,
        stream: TextIO | None = None,
        interactive: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares the display; nothing is drawn yet.

        Args:
            stream: Where to draw; None for standard output.
            interactive: Whether to draw a panel in place; None asks the stream if it is a terminal.
            clock: Seconds that never go back.
        """
        self._stream = sys.stdout if stream is None else stream
        console = Console(file=self._stream, force_terminal=True if interactive else None)
        if interactive is None:
            interactive = console.is_terminal and not console.is_dumb_terminal
        # Drawn on update only: a drawing thread would not survive the launcher's forks.
        # What libraries print stays out of the panel: the launcher redirects it.
        self._live = (
            Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            if interactive
            else None
        )
        self._clock = clock
        self._rate = StageRate(clock)
        # Stage and number of evaluations last shown.
        self._news: tuple[int, int] = (-1, 0)
        self._printed_at: float | None = None

    def update(self, response: GetProgressResponse) -> None:
        """Shows an answer of the learner.

        Args:
            response: The newest answer.
        """
        news = (response.progress.stage, response.progress.evaluations)
        is_news, self._news = news != self._news, news
        rate = self._rate.update(response)
        if self._live is not None:
            self._live.start()
            self._live.update(panel(response, rate), refresh=True)
        elif is_news or self._is_due():
            self._printed_at = self._clock()
            self._print(plain_line(response, rate))

    def note(self, text: str) -> None:
        """Shows a line of text that stays: above the panel, or among the lines.

        Args:
            text: What happened, e.g. "waiting for the teacher to start".
        """
        if self._live is not None:
            self._live.console.print(Text(text))
        else:
            self._print(text)

    def close(self) -> None:
        """Leaves the last state on the screen and gives the terminal back."""
        if self._live is not None:
            self._live.stop()

    def __enter__(self) -> ProgressDisplay:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the display."""
        self.close()

    def _is_due(self) -> bool:
        last = self._printed_at
        return last is None or self._clock() - last >= PLAIN_INTERVAL_SECONDS

    def _print(self, line: str) -> None:
        # The stream may be a log of any encoding.
        ascii_only = _printable(line).encode("ascii", "backslashreplace").decode("ascii")
        print(ascii_only, file=self._stream, flush=True)


class StageRate:
    """Measures how fast the current stage advances, from one answer of the learner to the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts without a rate.

        Args:
            clock: Seconds that never go back.
        """
        self._clock = clock
        self._stage: str | None = None
        self._samples: tuple[Sample, ...] = ()

    def update(self, response: GetProgressResponse) -> float | None:
        """Takes an answer in.

        Args:
            response: The newest answer.

        Returns:
            Units of the current stage per second; None where it is not known yet.
        """
        stage = current_stage(response)
        if stage is None:
            return None
        if stage.name != self._stage:
            self._stage, self._samples = stage.name, ()
        self._samples = extend_samples(self._samples, Sample(self._clock(), stage.done))
        return rate_per_second(self._samples)


def stages(response: GetProgressResponse) -> tuple[StageProgress, ...]:
    """Returns the stages of this run in order; those with no target are left out."""
    progress = response.progress
    counted = (
        ("collect", "steps", progress.teacher_steps, response.teacher_steps_target),
        ("offline", "updates", progress.offline_updates, response.offline_updates_target),
        ("online", "steps", progress.actor_steps, response.actor_steps_target),
    )
    return tuple(
        StageProgress(name=name, unit=unit, done=done, target=target)
        for name, unit, done, target in counted
        if target > 0
    )


def current_stage(response: GetProgressResponse) -> StageProgress | None:
    """Returns the counted stage the run is in; None before the first and after the last."""
    name = stage_name(response.progress.stage)
    return next((stage for stage in stages(response) if stage.name == name), None)


def stage_name(stage: int) -> str:
    """Returns what the user reads for a stage of the wire; one never heard of is "starting"."""
    return _STAGE_NAMES[Stage(stage)] if stage in set(Stage) else "starting"


def plain_line(response: GetProgressResponse, rate: float | None) -> str:
    """Puts an answer in one line of ASCII.

    Args:
        response: The learner's answer.
        rate: Units of the current stage per second; None where it is not known yet.
    """
    stage = current_stage(response)
    parts = [stage_name(response.progress.stage)]
    if stage is not None:
        parts[0] += f" {stage.done:,}/{stage.target:,} {stage.unit} ({stage.fraction:.0%})"
        parts.append(_speed(stage, rate))
    return " | ".join(part for part in [*parts, *_facts(response)] if part)


def _speed(stage: StageProgress, rate: float | None) -> str:
    """Rate and time left of a stage, as far as they are known."""
    if rate is None:
        return ""
    left = seconds_left(stage, rate)
    ending = "" if left is None else f", {format_duration(left)} left"
    return f"{rate:,.1f} {stage.unit}/s{ending}"


def _facts(response: GetProgressResponse) -> list[str]:
    """What there is to say in every stage."""
    progress = response.progress
    facts = []
    if response.updates_per_second > 0:
        facts.append(f"{response.updates_per_second:.1f} updates/s")
    if stage_name(progress.stage) not in ("starting", "collect"):
        facts.append(f"lambda {progress.weaning_weight:.2f}")
    facts.append(_scores(progress))
    if response.losses:
        facts.append("loss " + " ".join(f"{k} {v:.4g}" for k, v in sorted(response.losses.items())))
    if response.seconds > 0:
        facts.append(f"{format_duration(response.seconds)} at work")
    if response.checkpoint_failure:
        facts.append(
            f"NOT SAVED since update {saved_updates(response):,}: {response.checkpoint_failure}"
        )
    return [fact for fact in facts if fact]


def saved_updates(response: GetProgressResponse) -> int:
    """Returns the updates that the newest checkpoint holds."""
    return response.saved.offline_updates + response.saved.online_updates


def _scores(progress: Progress) -> str:
    """The newest returns, and how near the student is to the teacher."""
    teacher = progress.teacher_return if progress.HasField("teacher_return") else None
    student = progress.student_return if progress.HasField("student_return") else None
    scores = [] if student is None else [f"student {student:.2f}"]
    if teacher is not None:
        random = progress.random_return
        share = score_if_known(student, random, teacher)
        if share is not None:
            scores[0] += f" (teacher-normalised {share:.2f})"
        if scores and progress.HasField("evaluated_updates"):
            scores[0] += f" after {progress.evaluated_updates:,} updates"
        scores += [f"teacher {teacher:.2f}", f"random {random:.2f}"]
    return ", ".join(scores)


def panel(response: GetProgressResponse, rate: float | None) -> RenderableType:
    """Draws an answer as a panel: a bar per stage, and what else is known.

    Args:
        response: The learner's answer.
        rate: Units of the current stage per second; None where it is not known yet.
    """
    current = current_stage(response)
    bars = Table.grid(padding=(0, 2))
    for stage in stages(response):
        style = "bold" if stage == current else "dim"
        bars.add_row(
            Text(stage.name, style=style),
            ProgressBar(
                total=1.0,
                completed=stage.fraction,
                width=24,
                complete_style="cyan",
                finished_style="green",
            ),
            Text(f"{stage.fraction:4.0%}", style=style),
            Text(f"{stage.done:,} / {stage.target:,} {stage.unit}", style=style),
        )
    speed = [] if current is None else [_speed(current, rate)]
    facts = [Text(_printable(fact)) for fact in [*speed, *_facts(response)] if fact]
    return Panel(Group(bars, *facts), title=stage_name(response.progress.stage), title_align="left")


def _printable(text: str) -> str:
    """Text without what a terminal would obey: losses and failures carry foreign words."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
