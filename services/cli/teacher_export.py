"""`rrl teacher export`: the student of a run becomes the next teacher."""

from __future__ import annotations

import re
from pathlib import Path

from tyro.conf import Positional

from rrl_agents.environments.game_names import paper_name
from services.cli.lineage import score_in_words
from services.launcher.trained_student import default_name, read_student
from services.library.catalogue import check_name, free_place
from services.library.export import (
    DOPAMINE_FOLDER,
    ONNX_FILE,
    export_teacher,
    played_states,
    refuse_taken,
)
from services.library.places import exported_directory


def export(
    run: Positional[Path],
    *,
    out: Path | None = None,
    name: str | None = None,
    onnx: bool = False,
    dopamine: bool = False,
) -> None:
    """Export the student of a run as a teacher: parameters, a card, and a README.

    The run must be finished or stopped; its newest checkpoint is exported. Nothing is overwritten.

    Args:
        run: Folder of the run.
        out: Directory to write; must not exist. By default a directory in the cache, where the
            teacher can be found by name.
        name: Name of the teacher; by default the method and the run's folder, e.g.
            qdagger-pong-demo-1.
        onnx: Also write model.onnx, and check that it gives the same values.
        dopamine: Also write a checkpoint that Dopamine's JaxDQNAgent can load.

    Raises:
        UserError: It is not a run, is still training, or has no checkpoint; the name is taken; or
            ONNX or Dopamine does not support this student.
    """
    name = _plain(default_name(run)) if name is None else name
    student = read_student(run, check_name(name))
    game = paper_name(student.teacher.card.game)
    directory = free_place(exported_directory(), f"{game}/{name}") if out is None else out
    refuse_taken(directory)
    export_teacher(
        directory,
        student.teacher,
        onnx_states=played_states(student.config.environment) if onnx else None,
        dopamine=student.training if dopamine else None,
    )
    card = student.teacher.card
    print(f"exported  {card.name}: {card.algorithm} on {card.game}")
    print(f"score     {score_in_words(card)}")
    print(f"teacher   {directory}")
    if onnx:
        print(f"ONNX      {directory / ONNX_FILE}")
    if dopamine:
        print(f"Dopamine  {directory / DOPAMINE_FOLDER}")
    called = f"{game}/{name}" if out is None else directory
    print(f"\nserve it: rrl teacher serve --checkpoint {called}")


def _plain(name: str) -> str:
    """A folder's name reduced to characters that are portable in file names."""
    return re.sub("[^A-Za-z0-9_.+-]+", "-", name)[:100]
