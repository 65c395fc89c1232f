"""`rrl teacher push`: uploads a teacher to a repository on the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from rrl_agents.checkpoints.teacher_card import CARD_FILE, POLICY_FILES, read_card
from services.library.catalogue import check_name
from services.library.hub import parse_hub, push_files
from services.library.teacher_references import open_reference
from services.shared.errors import UserError, user_errors
from services.shared.run_config import CONFIG_FILE


def push(
    source: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")],
    destination: Annotated[Positional[str], tyro.conf.arg(metavar="hf://ORG/REPO")],
    *,
    private: bool = False,
) -> None:
    """Upload a run's student, or any teacher, to the Hugging Face Hub.

    Uploads the card, the parameters, and a model card with scores, protocol and lineage as one
    commit; `--checkpoint hf://ORG/REPO` then uses it. Log in with `hf auth login`, or set HF_TOKEN.
    An existing README.md is replaced. The card contains the run's command line; users, passwords
    and queries are removed from its URLs.

    Args:
        source: Folder of a finished or stopped run; or a teacher's name, path or URL.
        destination: The repository, hf://ORG/REPO; created if missing.
        private: Create the repository as private; an existing one must be private already.

    Raises:
        UserError: there is no such student or teacher, or the Hub refuses.
    """
    reference = parse_hub(destination)
    if reference.path or reference.revision is not None:
        raise UserError(f"{destination}: give a repository alone, hf://ORG/REPO")
    # Imports the Hub's library, whose absence raises an error with advice.
    from services.library.hub_card import hub_readme

    name = check_name(reference.repository.partition("/")[2])
    with _teacher_directory(source, name) as directory, user_errors((ValueError, OSError)):
        card = read_card(directory / CARD_FILE)
        parts = [directory / part for part in (CARD_FILE, *POLICY_FILES)]
        files = [part for part in parts if part.is_file()]
        commit = push_files(reference, files, hub_readme(card, str(reference)), private=private)
    print(f"pushed  {card.name}: {card.algorithm} on {card.game}")
    print(f"commit  {commit}")
    print(f"\nserve it: rrl teacher serve --checkpoint {reference}")


@contextlib.contextmanager
def _teacher_directory(source: str, name: str) -> Iterator[Path]:
    """The directory of a teacher, or of a run's student, exported temporarily."""
    if not (Path(source) / CONFIG_FILE).is_file():
        opened = open_reference(source)
        if not isinstance(opened, Path):
            raise UserError(f"{source} has no files of its own to upload; push a teacher that has")
        yield opened
        return
    from services.launcher.trained_student import read_student
    from services.library.export import export_teacher

    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / name
        export_teacher(directory, read_student(Path(source), name).teacher)
        yield directory
