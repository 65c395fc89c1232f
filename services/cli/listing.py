"""`rrl list ...`: the methods, students, environments and presets there are.

The parameters are the flags. Settings are listed by their dotted names: `method.q_learning.n_step`
is that name in a suite file, and the flag `--method.q-learning.n-step` of `rrl train`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import tyro

from services.shared.errors import UserError

_PLAIN_WIDTH = 200
"""Columns where there is no terminal: wide enough that few lines are folded."""

_LEAST_WIDTH = 20
"""Of the last column, on a narrow terminal."""

_CHOSEN = ("environment.name", "environment.game")
"""What the entries of `rrl list environments` are about."""

AsJson: TypeAlias = Annotated[bool, tyro.conf.arg(name="json")]
"""A flag that is called --json."""

_LISTS = {
    "methods": "how a teacher can be used",
    "students": "networks and Q-learning algorithms that any method but fine-tuning can train",
    "environments": "what can be played, and its games",
    "presets": "whole experiments by name, for each method",
    "teachers": "what can be given as --teacher.checkpoint by name",
}


def list_main(arguments: Sequence[str]) -> None:
    """Say what can be listed.

    Raises:
        UserError: something else was asked for.
        SystemExit: help was asked for; it has been printed.
    """
    if arguments and arguments[0] not in ("-h", "--help", "--json"):
        raise UserError(f"there is no list of {arguments[0]!r}; choose {', '.join(_LISTS)}")
    if "--json" in arguments:
        _show([{"name": name, "summary": what} for name, what in _LISTS.items()], True)
        return
    print("usage: rrl list WHAT [--json]\n")
    _print_columns([(name, what) for name, what in _LISTS.items()])
    if arguments:
        raise SystemExit(0)


def list_methods(*, as_json: AsJson = False) -> None:
    """Show the methods: each a first word of `rrl train`.

    Args:
        as_json: Print one JSON list, with every setting and its default.
    """
    from rrl_agents.reincarnation.registry import METHODS

    _show(
        [
            {
                "name": name,
                "summary": method.summary,
                "settings": _dotted("method", method.config_class()),
            }
            for name, method in METHODS.items()
        ],
        as_json,
    )


def list_students(*, as_json: AsJson = False) -> None:
    """Show the students: `rrl train METHOD --student NAME`.

    Args:
        as_json: Print one JSON list, with every setting that a student stands for.
    """
    from rrl_agents.students.registry import STUDENTS

    _show(
        [
            {
                "name": name,
                "summary": student.summary,
                "settings": {
                    **_dotted("network", student.network),
                    **_dotted("student", student.learning),
                },
            }
            for name, student in STUDENTS.items()
        ],
        as_json,
    )


def list_environments(*, as_json: AsJson = False) -> None:
    """Show the environments, `--environment.name NAME`, and their games, `--environment.game GAME`.

    Args:
        as_json: Print one JSON list, with every setting and its default.
    """
    from rrl_agents.environments.registry import ENVIRONMENTS, EnvironmentConfig

    def settings(name: str) -> dict[str, object]:
        # Where it is one game, the word for it means nothing.
        game = next(iter(ENVIRONMENTS[name].games()), "")
        found = _dotted("environment", EnvironmentConfig(name=name, game=game))
        return {key: value for key, value in found.items() if key not in _CHOSEN}

    _show(
        [
            {
                "name": name,
                "summary": kind.summary,
                "games": list(kind.games()),
                "sticky_action_probability": kind.sticky_action_probability,
                "clips_rewards": kind.clips_rewards,
                "settings": settings(name),
            }
            for name, kind in ENVIRONMENTS.items()
        ],
        as_json,
    )


def list_presets(*, as_json: AsJson = False) -> None:
    """Show the presets: `rrl train METHOD --preset NAME`.

    Args:
        as_json: Print one JSON list, with every setting.
    """
    from services.launcher.presets import PRESETS, SUMMARIES

    _show(
        [
            {
                "method": method,
                "name": name,
                "summary": SUMMARIES[method][name],
                "settings": _dotted("", config),
            }
            for method, presets in PRESETS.items()
            for name, config in presets.items()
        ],
        as_json,
    )


def _show(entries: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    rows = []
    for entry in entries:
        rows.append(tuple(entry[key] for key in ("method", "name", "summary") if key in entry))
        if entry.get("games"):
            rows.append(("", f"{len(entry['games'])} games: {', '.join(entry['games'])}"))
    _print_columns(rows)


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows of as many cells each; the last is folded below itself."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    columns = shutil.get_terminal_size((_PLAIN_WIDTH, 0)).columns
    for row in rows:
        head = "".join(f"{cell:<{width + 2}}" for cell, width in zip(row[:-1], widths, strict=True))
        folded = textwrap.wrap(row[-1], max(columns - len(head), _LEAST_WIDTH))
        print(f"\n{' ' * len(head)}".join([head + folded[0], *folded[1:]]))


def _dotted(prefix: str, config: Any) -> dict[str, object]:
    """Every setting of a config dataclass: dotted name -> its value."""
    return dict(_leaves(prefix, dataclasses.asdict(config)))


def _leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, inner)
    else:
        yield path, value
