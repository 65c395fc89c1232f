"""`rrl teacher inspect`: the parameters are the flags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from rich.markdown import Markdown
from tyro.conf import Positional, arg

from rrl_agents.checkpoints.card_markdown import card_markdown, one_line
from rrl_agents.checkpoints.dopamine_replay.files import replay_directories
from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.find_checkpoint import checkpoint_numbers, checkpoints_directory
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.typed_json import encode
from services.cli.terminal import make_console
from services.library.catalogue import locate
from services.library.door import open_reference
from services.shared.errors import user_errors
from services.teacher.policies.loading import count_parameters, load_card


def inspect(
    reference: Annotated[str, Positional, arg(metavar="TEACHER")],
    *,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Tell what a teacher or a replay buffer is; exit code 2 says what is wrong with a broken one.

    What is foreign is imported for that. Nothing in its files is executed; a Python policy is made
    by its factory.

    Args:
        reference: A name of `rrl teacher list`, a path (teacher directory, Dopamine agent or one
            of its checkpoints, ONNX file, replay buffer), a URL of a teacher, or a Python policy
            as module:factory.
        as_json: Print one JSON object in place of text.
    """
    found = _lies_there(Path(locate(reference)))
    card = None
    if "replay" not in found or "checkpoints" in found:
        card = load_card(reference)
        opened = open_reference(reference)
        found = {"teacher": str(opened), "parameters": count_parameters(opened), **found}
    if as_json:
        print(json.dumps({"card": card and encode(card), **found}, indent=2))
        return
    for name, fact in found.items():
        print(f"{name:<12}{one_line(str(fact))}")
    if card is not None:
        show_card(card)


def show_card(card: TeacherCard) -> None:
    """Print a card; its texts are neither markup nor escapes of the terminal."""
    make_console().print(Markdown(card_markdown(card)))


def _lies_there(path: Path) -> dict[str, Any]:
    """The checkpoints of a Dopamine agent's directory, and the buffer saved with them."""
    found: dict[str, Any] = {}
    if not path.is_dir():
        return found
    with user_errors((ValueError, OSError)):
        numbers = checkpoint_numbers(checkpoints_directory(path))
        if numbers.written:
            found["checkpoints"] = sorted(numbers.complete)
        if replay_directories(path):
            rows = open_dopamine_replay(path)
            found["replay"] = {
                "rows": rows.rows,
                "frame_shape": rows.frame_shape,
                "transitions": rows.count_transitions(1),
            }
    return found
