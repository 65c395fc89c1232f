"""`rrl teacher inspect`: the parameters are the flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from rich.markdown import Markdown
from tyro.conf import Positional, arg

from rrl_agents.checkpoints.card_markdown import card_markdown
from rrl_agents.checkpoints.dopamine_replay.files import replay_directories
from rrl_agents.checkpoints.find_checkpoint import complete_checkpoints
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.escaped_markdown import one_line
from rrl_agents.typed_json import encode
from services.cli.terminal import make_console, print_json
from services.library.catalogue import locate
from services.library.teacher_references import open_reference
from services.recorded_data.dataset import open_data
from services.shared.errors import user_errors
from services.teacher.policies.loading import count_parameters, load_card


def inspect(
    reference: Annotated[Positional[str], arg(metavar="TEACHER")], *, json: bool = False
) -> None:
    """Describe a teacher or a replay buffer; for a broken one, say what is wrong and exit with 2.

    Files of other libraries are imported first, without executing anything in them. A Python policy
    is built by calling its factory.

    Args:
        reference: A name of `rrl teacher list`, a path (teacher directory, Dopamine agent or one of
            its checkpoints, model of Stable-Baselines3, CleanRL or PyTorch, ONNX file, replay
            buffer), a URL of a teacher, a Python policy as module:factory, or several of these as
            ensemble:RULE:A,B (rules mean, values, highest).
        json: Print one JSON object instead of text.
    """
    facts = _facts(Path(locate(reference)))
    card = None
    if "replay" not in facts or "checkpoints" in facts:
        card = load_card(reference)
        opened = open_reference(reference)
        facts = {"teacher": str(opened), "parameters": count_parameters(opened), **facts}
    if json:
        print_json({"card": card and encode(card), **facts})
        return
    for name, fact in facts.items():
        print(f"{name:<12}{one_line(str(fact))}")
    if card is not None:
        show_card(card)


def show_card(card: TeacherCard) -> None:
    """Print a card, without markup or terminal escapes."""
    make_console().print(Markdown(card_markdown(card)))


def _facts(path: Path) -> dict[str, Any]:
    """The checkpoints in a Dopamine agent's directory, and the replay buffer saved with them."""
    facts: dict[str, Any] = {}
    if not path.is_dir():
        return facts
    with user_errors((ValueError, OSError)):
        complete = complete_checkpoints(path)
        if complete:
            facts["checkpoints"] = complete
        if replay_directories(path):
            rows = open_data(path)
            facts["replay"] = {
                "rows": rows.rows,
                "frame_shape": rows.frame_shape,
                "transitions": len(rows.transition_rows(1)),
            }
    return facts
