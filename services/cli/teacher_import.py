"""`rrl teacher import`: the parameters, and those of the group, are the flags."""

from __future__ import annotations

import shutil
from typing import Annotated

from tyro.conf import Positional, arg

from rrl_agents.checkpoints.hints import NO_HINTS, Hints
from rrl_agents.checkpoints.teacher_card import CARD_FILE, read_card
from rrl_agents.durable_files import rename_whole
from services.cli.teacher_inspect import show_card
from services.library.catalogue import free_place
from services.library.places import imported_directory
from services.library.teacher_references import import_reference
from services.shared.errors import user_errors


def import_teacher(
    source: Annotated[str, Positional, arg(metavar="SRC")],
    *,
    checkpoint_number: int | None = None,
    hints: Annotated[Hints, arg(name="")] = NO_HINTS,
    name: str | None = None,
) -> None:
    """Import a teacher saved by another library, adding what its files do not record.

    Nothing in the files is executed. If there is nothing to add, you can skip this command and give
    the path of the files wherever a teacher is expected.

    Args:
        source: A Dopamine agent (its directory, ckpt.N or tf_ckpt-N), a model saved by
            Stable-Baselines3 (.zip), CleanRL (.cleanrl_model) or PyTorch (.pt, .pth), an ONNX file,
            a teacher's directory, or a URL or name of one of these.
        checkpoint_number: Number of the checkpoint of a Dopamine agent; the newest by default.
        hints: What the files do not record.
        name: Name for the teacher, GAME/NAME; without it the command prints the teacher's
            directory.
    """
    named = None if name is None else free_place(imported_directory(), name)
    directory = import_reference(source, hints, number=checkpoint_number, name=name)
    if named is not None:
        unfinished = named.with_name(f".{named.name}.tmp")
        with user_errors((OSError,)):
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(directory, unfinished)
            rename_whole(unfinished, named)
        directory = named
    with user_errors():
        card = read_card(directory / CARD_FILE)
    show_card(card)
    print(f"teacher   {directory}\nserve it: rrl teacher serve --checkpoint {name or directory}")
