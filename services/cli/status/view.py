"""A run's status on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.cli.status.facts import Actor, Replay, RunStatus, Teacher
from services.cli.terminal import NOTHING, milliseconds, printable, rate
from services.launcher.progress_estimates import format_duration

_BAR_COLUMNS = 24
_ACTOR_COLUMNS = (
    "steps\n/s",
    "last\nreturn",
    "weights\nversion",
    "behind\nupdates",
    "age\ns",
    "queries\nunanswered",
)


def render(status: RunStatus) -> RenderableType:
    """Draw everything that is known."""
    return Group(*_parts(status))


def _parts(status: RunStatus) -> Iterator[RenderableType]:
    yield _head(status)
    if status.note is not None:
        yield Text(printable(status.note), style="yellow")
    if status.stages:
        yield _stages(status)
    facts = [*_speed(status), *_learning(status)]
    yield from (Text(fact) for fact in facts)
    if status.replay is not None:
        yield Text(_replay(status.replay))
    if status.teacher is not None:
        yield Text(_teacher(status.teacher))
    if status.checkpoint is not None:
        failed = status.checkpoint.failed
        told = f"newest checkpoint {status.checkpoint.number}, "
        if status.checkpoint.updates is not None:
            told += f"after {status.checkpoint.updates:,} updates, "
        told += f"{format_duration(status.checkpoint.age_seconds)} old"
        yield Text.assemble(told, (f", {failed} failed", "bold red") if failed else "")
    if status.actors:
        yield _actors(status.actors)
    if status.roles:
        yield _roles(status)


def _head(status: RunStatus) -> Text:
    words = [printable(status.run) if status.run is not None else "run"]
    words.append(status.stage or "its stage is not known")
    if status.seconds_at_work is not None:
        words.append(f"{format_duration(status.seconds_at_work)} at work")
    if status.seconds_left:
        words.append(f"about {format_duration(status.seconds_left)} of this stage left")
    return Text(" | ".join(words), style="bold")


def _stages(status: RunStatus) -> Table:
    bars = Table.grid(padding=(0, 2))
    for stage in status.stages:
        share = min(1.0, stage.done / stage.target) if stage.target > 0 else 1.0
        style = "bold" if stage.name == status.stage else "dim"
        bars.add_row(
            Text(stage.name, style=style),
            ProgressBar(
                total=1.0,
                completed=share,
                width=_BAR_COLUMNS,
                complete_style="cyan",
                finished_style="green",
            ),
            Text(f"{share:4.0%}", style=style),
            Text(f"{stage.done:,} / {stage.target:,} {stage.unit}", style=style),
        )
    return bars


def _speed(status: RunStatus) -> Iterator[str]:
    facts = []
    if status.frames_per_second is not None:
        facts.append(f"{rate(status.frames_per_second)} frames/s")
    if status.updates_per_second is not None:
        facts.append(f"{rate(status.updates_per_second)} updates/s")
    if facts:
        yield " | ".join(facts)


def _learning(status: RunStatus) -> Iterator[str]:
    facts, scores = [], status.scores
    if status.weaning_weight is not None:
        facts.append(f"lambda {status.weaning_weight:.2f}")
    if scores.student_return is not None:
        share = scores.normalised_score
        told = f" (teacher-normalised {share:.2f})" if share is not None else ""
        if scores.student_updates is not None:
            told += f" at the last evaluation, after {scores.student_updates:,} updates"
        facts.append(f"student {scores.student_return:.2f}{told}")
    if scores.teacher_return is not None:
        facts.append(f"teacher {scores.teacher_return:.2f}")
    if scores.random_return is not None:
        facts.append(f"random {scores.random_return:.2f}")
    if status.answered_share is not None:
        facts.append(f"{status.answered_share:.1%} of rows answered")
    if facts:
        yield " | ".join(facts)
    if status.losses:
        told = " ".join(f"{printable(k)} {v:.4g}" for k, v in sorted(status.losses.items()))
        yield f"loss {told}"


def _replay(replay: Replay) -> str:
    asked = "" if replay.ratio_target is None else f" (asked {replay.ratio_target:.2f})"
    facts = [f"replay ratio {_two_digits(replay.ratio)}{asked}"]
    for name, table in replay.tables.items():
        capacity = "" if table.capacity_items is None else f"/{table.capacity_items:,.0f}"
        rates = (
            f"{rate(table.inserted_per_second)} in/s, {rate(table.sampled_per_second)} sampled/s"
        )
        facts.append(f"{printable(name)}'s table {table.items:,.0f}{capacity} items, {rates}")
    return " | ".join(facts)


def _teacher(teacher: Teacher) -> str:
    batch = teacher.mean_batch_rows
    return " | ".join(
        (
            f"teacher {rate(teacher.rows_per_second)} states/s",
            f"latency p50 {milliseconds(teacher.latency_p50_seconds)}, "
            f"p99 {milliseconds(teacher.latency_p99_seconds)} ms",
            f"{NOTHING if batch is None else f'{batch:,.1f}'} states in a batch",
            f"{teacher.queue_rows:,.0f} waiting",
            f"{rate(teacher.rejected_per_second)} rejected/s",
        )
    )


def _actors(actors: Sequence[Actor]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("actor")
    for name in _ACTOR_COLUMNS:
        table.add_column(name, justify="right")
    for actor in actors:
        table.add_row(
            Text(printable(actor.name)),
            rate(actor.steps_per_second),
            _two_digits(actor.episode_return),
            _whole(actor.weights_version),
            _whole(actor.weights_lag_updates),
            NOTHING if actor.weights_age_seconds is None else f"{actor.weights_age_seconds:,.1f}",
            _unanswered(actor),
        )
    return table


def _unanswered(actor: Actor) -> Text:
    count, share = actor.unanswered_queries, actor.unanswered_share
    told = "" if share is None else f" ({share:.1%})"
    return Text(f"{_whole(count)}{told}", style="bold red" if count else "")


def _roles(status: RunStatus) -> Text:
    told = Text()
    for role in status.roles:
        told.append(f"{printable(role.name)} ")
        told.append("lives" if role.lives else "AWAY", "green" if role.lives else "bold red")
        told.append("" if role is status.roles[-1] else ", ")
    return told


def _two_digits(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _whole(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"
