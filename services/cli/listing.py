"""`rrl list WHAT`: the methods, students, environments, presets and teachers there are.

Settings are listed by their dotted names: `method.q_learning.n_step` is that name in a suite file,
and the flag `--method.q-learning.n-step` of `rrl train`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import tyro
from tyro.conf import Positional

from services.cli.terminal import print_json, print_rows

_Entry: TypeAlias = Mapping[str, Any]

_What: TypeAlias = Literal["methods", "students", "environments", "presets", "teachers"]

_ABOUT: Mapping[_What, str] = {
    "methods": "how a teacher can be used: METHOD of `rrl train METHOD`",
    "students": "networks and algorithms for any method but fine-tuning: for --student",
    "environments": "what can be played: for --environment.name and --environment.game",
    "presets": "whole experiments of each method: for --preset",
    "teachers": "as of `rrl teacher list`: for --teacher.checkpoint",
}
"""What can be listed, and what that is."""


def list_main(arguments: Sequence[str]) -> None:
    """List what was asked for; without WHAT, what can be listed.

    Raises:
        SystemExit: there is no such list, or help was asked for; it has been printed.
    """
    if set(arguments) <= {"--json"}:
        lists = [{"name": name, "summary": about} for name, about in _ABOUT.items()]
        _show(lists, json=bool(arguments))
        return
    lines = [f"- {name}: {about}" for name, about in _ABOUT.items()]
    tyro.cli(
        list_known,
        prog="rrl list",
        description="\n".join(["List what there is to choose from, by name.", *lines]),
        args=arguments,
    )


def list_known(what: Positional[_What], *, json: bool = False) -> None:
    """List what there is to choose from, by name.

    Args:
        what: Which list; without it, what can be listed is shown.
        json: Print one JSON list, with every setting and its default.
    """
    if what == "teachers":
        from services.cli.teacher_list import list_teachers

        list_teachers(json=json)
        return
    _show(list(_LISTS[what]()), json=json)


def _show(entries: Sequence[_Entry], *, json: bool) -> None:
    if json:
        print_json(entries)
        return
    rows = []
    for entry in entries:
        rows.append([entry[key] for key in ("method", "name", "summary") if key in entry])
        if games := entry.get("games"):
            rows.append(["", f"{len(games)} games: {', '.join(games)}"])
        if named_by := entry.get("games_are_named_by"):
            rows.append(["", f"games: {named_by}"])
    print_rows(rows)


def _methods() -> Iterator[_Entry]:
    from rrl_agents.reincarnation.registry import METHODS

    for name, method in METHODS.items():
        settings = _settings(method=method.config_class())
        yield {"name": name, "summary": method.summary, "settings": settings}


def _students() -> Iterator[_Entry]:
    from rrl_agents.students.registry import STUDENTS

    for name, student in STUDENTS.items():
        settings = _settings(network=student.network, student=student.learning)
        yield {"name": name, "summary": student.summary, "settings": settings}


def _environments() -> Iterator[_Entry]:
    from rrl_agents.environments.registry import ENVIRONMENTS, EnvironmentConfig

    for name, kind in ENVIRONMENTS.items():
        games = list(kind.games())
        yield {
            "name": name,
            "summary": kind.summary,
            "games": games,
            "games_are_named_by": kind.open_games,
            "sticky_action_probability": kind.sticky_action_probability,
            "clips_rewards": kind.clips_rewards,
            # Where it is one game, the word for it means nothing.
            "settings": _settings(
                environment=EnvironmentConfig(
                    name=name, game=next(iter(games), "CartPole-v1" if kind.open_games else "")
                )
            ),
        }


def _presets() -> Iterator[_Entry]:
    from services.launcher.presets import NAMED_PRESETS
    from services.launcher.settings import known_settings

    for method, presets in NAMED_PRESETS.items():
        for name, preset in presets.items():
            settings = known_settings(preset.config)
            yield {"method": method, "name": name, "summary": preset.summary, "settings": settings}


_LISTS: Mapping[str, Callable[[], Iterator[_Entry]]] = {
    "methods": _methods,
    "students": _students,
    "environments": _environments,
    "presets": _presets,
}


def _settings(**parts: object) -> dict[str, object]:
    """The settings of parts of an experiment, by their dotted names."""
    from services.launcher.settings import known_settings

    return {
        f"{part}.{name}": value
        for part, config in parts.items()
        for name, value in known_settings(config).items()
    }
