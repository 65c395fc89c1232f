"""How an environment gets the packages that a command lacks.

No package index has this project, and pip alone cannot resolve the training side, so every advice
starts from a checkout of the repository.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Side: TypeAlias = Literal["teacher", "train"]
"""The extra of pyproject.toml that has the packages."""

ADVICE: dict[Side, str] = {
    "teacher": "run `pip install '.[teacher]'` in a checkout of the repository",
    "train": (
        "run `make setup` in a checkout of the repository and use its .venv/bin/rrl, or start the "
        "images there with `docker compose up -d --build --wait`"
    ),
}
