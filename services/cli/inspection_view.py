"""An inspection as text: facts, a table of layers, notes, problems."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rrl_agents.checkpoints.card_markdown import describe_network
from rrl_agents.checkpoints.inspect_checkpoint import Inspection
from rrl_agents.checkpoints.inspection.findings import ListedCheckpoint, ReplayFacts, shown
from rrl_agents.checkpoints.teacher_card import TeacherCard

_NAME_WIDTH = 16
_SHOWN_CHECKPOINTS = 12
_MADE_CHARACTERS = 500
_LINE_CHARACTERS = 4000


def print_inspection(found: Inspection, console: Console) -> None:
    """Print all that was found.

    Args:
        found: The inspection; its texts are printed as they are, never as markup.
        console: Where to; plain text when it is no terminal.
    """
    _print_line(console, Text(shown(found.path, _LINE_CHARACTERS), style="bold"))
    for name, text in (*_facts(found), *_card_facts(found.card)):
        _print_line(console, Text.assemble((f"  {name:<{_NAME_WIDTH}}", "dim"), text))
    if found.layers:
        console.print()
        console.print(_layer_table(found, console.is_terminal))
    for title, lines, style in (("notes", found.notes, ""), ("problems", found.problems, "red")):
        if lines:
            console.print()
            _print_line(console, Text(title, style="bold"))
            for line in lines:
                _print_line(console, Text(f"  - {shown(line, _LINE_CHARACTERS)}", style=style))


def _print_line(console: Console, line: Text) -> None:
    """Whole, as long as it is: the terminal folds it, a file keeps it."""
    console.print(line, soft_wrap=True)


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "format", found.format
    for detail in found.details:
        yield "", detail
    if found.game is not None:
        yield "game", shown(found.game)
    if found.agent is not None:
        yield "agent", shown(found.agent)
    if found.network is not None:
        yield "network", describe_network(found.network)
    if found.num_actions is not None:
        yield "actions", f"{found.num_actions}"
    if found.num_parameters:
        yield "parameters", f"{found.num_parameters:,}"
    if found.training_steps is not None:
        yield "training steps", f"{found.training_steps:,}"
    if found.checkpoint_number is not None:
        yield "checkpoint", f"{found.checkpoint_number}"
    if found.checkpoints:
        yield "found there", _complete(found.checkpoints)
    for listed in [one for one in found.checkpoints if not one.is_complete][-_SHOWN_CHECKPOINTS:]:
        yield "", f"{listed.number} is not complete: {listed.lacks} is missing"
    if found.replay is not None:
        yield "recorded data", _replay(found.replay)


def _complete(checkpoints: tuple[ListedCheckpoint, ...]) -> str:
    numbers = [listed.number for listed in checkpoints if listed.is_complete]
    if not numbers:
        return "no complete checkpoint"
    listed = ", ".join(map(str, numbers[-_SHOWN_CHECKPOINTS:]))
    more = "..., " if len(numbers) > _SHOWN_CHECKPOINTS else ""
    plural = "s" if len(numbers) > 1 else ""
    return f"{len(numbers)} complete checkpoint{plural}: {more}{listed}"


def _replay(replay: ReplayFacts) -> str:
    height, width = replay.frame_shape
    return (
        f"buffer {replay.number}: {replay.rows:,} rows of {height}x{width}, stack of "
        f"{replay.stack_size}, {replay.transitions:,} transitions of one step"
    )


def _card_facts(card: TeacherCard | None) -> Iterator[tuple[str, str]]:
    if card is None:
        return
    yield "name", shown(card.name)
    shape = " x ".join(map(str, card.observation_shape))
    yield "observations", f"{card.observation_dtype}, {shape}"
    softened = "" if card.temperature is None else f", temperature {card.temperature:g}"
    yield "output", f"{card.output}{softened}"
    if card.score is not None:
        yield "score", f"{card.score.mean_return:.2f} over {card.score.episodes:,} episodes"
    yield "made", shown(card.made, _MADE_CHARACTERS)
    for parent in card.parents:
        yield "parent", f"{shown(parent.card.name)} ({', '.join(parent.relations)})"
    yield "SHA-256", card.parameters_sha256


def _layer_table(found: Inspection, is_terminal: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD if is_terminal else None, show_footer=True, pad_edge=False)
    table.add_column("layer", footer="total")
    table.add_column("shape", justify="right")
    table.add_column("type")
    table.add_column("numbers", justify="right", footer=f"{found.num_parameters:,}")
    for layer in found.layers:
        shape = " x ".join(map(str, layer.shape)) or "()"
        table.add_row(Text(layer.name), shape, layer.dtype, f"{layer.count:,}")
    return table
