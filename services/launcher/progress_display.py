"""Live progress of a run in the terminal of the launching process.

On a terminal it redraws one panel in place. Elsewhere it prints plain ASCII lines: one every few
seconds, and one whenever the stage changes, the first steps are made or an evaluation arrives. It
lists the services that are ready or awaited until the learner answers; after that it shows the
learner's GetProgress answers, without fields that are unset.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, Task, TextColumn
from rich.spinner import Spinner
from rich.text import Text

from rrl_agents.scores import score_if_known
from rrl_agents.types import Stage
from services.shared.errors import printable

if TYPE_CHECKING:
    from services.learner.v1.learner_pb2 import GetProgressResponse

PLAIN_INTERVAL_SECONDS = 5.0
"""Time between plain lines of one stage."""

_WINDOW_SECONDS = 60.0
"""Window of a rate: long enough to be steady, short enough to follow changes."""


@dataclasses.dataclass(frozen=True)
class StageProgress:
    """The progress of one stage.

    Attributes:
        name: Displayed name, e.g. "offline".
        unit: Unit of the counts, e.g. "updates".
        done: Count so far.
        target: Count at the end of the stage.
    """

    name: str
    unit: str
    done: int
    target: int


class StageBars:
    """The stages of a run: progress, rate, and time left.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24, complete_style="cyan", finished_style="green"),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.completed:,} / {task.total:,} {task.fields[unit]}"),
            auto_refresh=False,
            speed_estimate_period=_WINDOW_SECONDS,
            get_time=clock,
        )

    def update(self, response: GetProgressResponse) -> Task | None:
        """Take in an answer; returns the current stage, None if it is not counted."""
        tasks = {task.description: task.id for task in self._bars.tasks}
        for stage in stages(response):
            if stage.name not in tasks:
                tasks[stage.name] = self._bars.add_task(
                    stage.name, total=stage.target, unit=stage.unit
                )
            self._bars.update(tasks[stage.name], completed=stage.done)
        current = stage_name(response.progress.stage)
        return next((task for task in self._bars.tasks if task.description == current), None)

    def panel(self, response: GetProgressResponse) -> RenderableType:
        """Take in an answer and draw it: a bar per stage, and other known facts."""
        lines = map(Text, _facts(response, self.update(response)))
        title = stage_name(response.progress.stage)
        return Panel(Group(self._bars, *lines), title=title, title_align="left")

    def line(self, response: GetProgressResponse) -> str:
        """Take in an answer and format it as one line."""
        current, stage = self.update(response), stage_name(response.progress.stage)
        if current is not None:
            unit, share = current.fields["unit"], current.percentage
            stage += f" {current.completed:,}/{current.total:,} {unit} ({share:.0f}%)"
        return " | ".join([stage, *_facts(response, current)])


class ProgressDisplay:
    """Shows the progress of a run; `close` leaves the last state and releases the terminal.

    Args:
        stream: Where to draw.
        interactive: Whether to draw a panel in place; None decides by whether the stream is a
            terminal.
        clock: Seconds that never go back.

    Attributes:
        updates: Gradient steps last shown.
    """

    def __init__(
        self,
        stream: TextIO,
        interactive: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.updates = 0
        self._stream = stream
        console = Console(file=stream, force_terminal=interactive)
        # Drawn on update only: a drawing thread would not survive the launcher's forks. Output of
        # libraries stays out of the panel, because the launcher redirects it.
        self._live = (
            Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            if console.is_terminal and not console.is_dumb_terminal
            else None
        )
        self._clock = clock
        self._stages = StageBars(clock)
        self._spinner = Spinner("dots")
        self._began_at = clock()
        # The last state shown: stage, number of evaluations, whether it had begun; or the ready
        # services.
        self._news: object = None
        self._note = ""
        self._printed_at = -PLAIN_INTERVAL_SECONDS

    def starting(self, ready: Mapping[str, bool]) -> None:
        """Show which services are awaited; on a terminal, each call moves the spinner.

        Args:
            ready: Whether a service is ready, by name.
        """
        seconds = format_duration(self._clock() - self._began_at)
        states = [f"{name} {'ready' if is_ready else '...'}" for name, is_ready in ready.items()]
        text = f"starting, {seconds}: {', '.join(states)}"
        if self._live is not None:
            self._spinner.update(text=Text(text))
            self._live.start()
            self._live.update(self._spinner, refresh=True)
        else:
            self._print_at_times(text, tuple(ready.items()))

    def update(self, response: GetProgressResponse) -> None:
        """Show an answer from the learner."""
        progress = response.progress
        self.updates = progress.offline_updates + progress.online_updates
        if self._live is not None:
            self._live.start()
            self._live.update(self._stages.panel(response), refresh=True)
            return
        has_begun = self.updates + progress.teacher_steps + progress.actor_steps > 0
        news = (progress.stage, progress.evaluations, has_begun)
        self._print_at_times(self._stages.line(response), news)

    def note(self, text: str) -> None:
        """Show a permanent line, above the panel or among the lines; repeats are dropped."""
        if text == self._note:
            return
        self._note = text
        if self._live is not None:
            self._live.console.print(Text(text))
        else:
            self._print(text)

    def close(self) -> None:
        """Leave the last state on the screen and release the terminal."""
        if self._live is not None:
            self._live.stop()

    def _print_at_times(self, line: str, news: object) -> None:
        """Print a line if it has news, or if the last one is some seconds old."""
        is_news, self._news = news != self._news, news
        now = self._clock()
        if is_news or now - self._printed_at >= PLAIN_INTERVAL_SECONDS:
            self._printed_at = now
            self._print(line)

    def _print(self, line: str) -> None:
        # The stream may be a log with any encoding.
        ascii_only = printable(line).encode("ascii", "backslashreplace").decode("ascii")
        print(ascii_only, file=self._stream, flush=True)


def stages(response: GetProgressResponse) -> tuple[StageProgress, ...]:
    """The counted stages of this run, in order, without those that have no target."""
    progress = response.progress
    counted = (
        StageProgress("collect", "steps", progress.teacher_steps, response.teacher_steps_target),
        StageProgress(
            "offline", "updates", progress.offline_updates, response.offline_updates_target
        ),
        StageProgress("online", "steps", progress.actor_steps, response.actor_steps_target),
    )
    return tuple(stage for stage in counted if stage.target > 0)


def stage_name(stage: int) -> str:
    """The displayed name of a stage on the wire; "starting" if unknown."""
    return Stage(stage).name.lower().replace("_", " ") if stage in set(Stage) else "starting"


def saved_updates(response: GetProgressResponse) -> int:
    """The number of updates in the newest checkpoint."""
    return response.saved.offline_updates + response.saved.online_updates


def format_duration(seconds: float) -> str:
    """Format a time as "42 s", "3 min 05 s" or "2 h 07 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _speed(stage: Task | None) -> str:
    """Rate and time left of a stage, as far as known."""
    if stage is None or stage.speed is None:
        return ""
    left = stage.time_remaining
    ending = "" if left is None else f", {format_duration(left)} left"
    return f"{stage.speed:,.1f} {stage.fields['unit']}/s{ending}"


def _facts(response: GetProgressResponse, current: Task | None) -> list[str]:
    """The known facts about a run in a stage, as texts."""
    progress, losses = response.progress, sorted(response.losses.items())
    is_weaned = Stage.COLLECT < progress.stage <= Stage.FINISHED
    failure, speed = response.checkpoint_failure, _speed(current)
    rate = f"{response.updates_per_second:.1f} updates/s" if response.updates_per_second > 0 else ""
    facts = [
        _awaited(response),
        _episodes(response),
        speed,
        # One rate of updates is enough: the stage's own, if it counts updates.
        "" if "updates/s" in speed else rate,
        f"lambda {progress.weaning_weight:.2f}" if is_weaned else "",
        _scores(response),
        "loss " + " ".join(f"{name} {loss:.4g}" for name, loss in losses) if losses else "",
        f"{format_duration(response.seconds)} at work" if response.seconds > 0 else "",
        f"NOT SAVED since update {saved_updates(response):,}: {failure}" if failure else "",
    ]
    # Names of losses and failure messages are untrusted.
    return [printable(fact) for fact in facts if fact]


def _episodes(response: GetProgressResponse) -> str:
    """The episodes played in this stage, if progress counts episodes."""
    progress, steps = response.progress, response.episode_steps
    played = {
        int(Stage.COLLECT): (progress.teacher_steps, response.teacher_steps_target),
        int(Stage.ONLINE): (progress.actor_steps, response.actor_steps_target),
    }.get(int(progress.stage))
    if not steps or played is None:
        return ""
    done, target = played
    return f"{done / steps:.1f} of {target / steps:g} episodes"


def _awaited(response: GetProgressResponse) -> str:
    """The evaluation that the run is waiting for, if any."""
    if response.awaits_teacher_return:
        return "waiting for the evaluation of the teacher"
    if response.HasField("awaited_updates"):
        return f"waiting for the evaluation of update {response.awaited_updates:,}"
    return ""


def _scores(response: GetProgressResponse) -> str:
    """The newest returns, and the student's score relative to the teacher."""
    progress = response.progress
    teacher = progress.teacher_return if progress.HasField("teacher_return") else None
    student = progress.student_return if progress.HasField("student_return") else None
    scores = [] if student is None else [f"student {student:.2f}"]
    if teacher is not None:
        random = progress.random_return
        share = score_if_known(student, random, teacher)
        if share is not None:
            scores[0] += f" (teacher-normalised {share:.2f})"
        metrics = sorted(response.evaluation_metrics.items())
        if scores and metrics:
            scores[0] += "".join(f", {name} {value:.3f}" for name, value in metrics)
        if scores and progress.HasField("evaluated_updates"):
            scores[0] += f" after {progress.evaluated_updates:,} updates"
        scores += [f"teacher {teacher:.2f}", f"random {random:.2f}"]
    return ", ".join(scores)
