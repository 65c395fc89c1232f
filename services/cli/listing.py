"""`rrl list WHAT`: the available methods, students, networks, environments, presets and teachers.

Settings have dotted names: `method.q_learning.n_step` in a suite file is the flag
`--method.q-learning.n-step` of `rrl train`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import tyro
from tyro.conf import Positional

from services.cli.terminal import print_json, print_rows

_Entry: TypeAlias = Mapping[str, Any]

_What: TypeAlias = Literal["methods", "students", "networks", "environments", "presets", "teachers"]

_ABOUT: Mapping[_What, str] = {
    "methods": "ways to use a teacher: METHOD in `rrl train METHOD`",
    "students": "a network and an algorithm, for every method except fine-tuning: --student NAME",
    "networks": "networks for a student of your own: --network.name NAME",
    "environments": "environments and their games: --environment.name and --environment.game",
    "presets": "complete experiments for each method: --preset NAME",
    "teachers": "as in `rrl teacher list`: --teacher.checkpoint NAME",
}
"""What can be listed, with a description."""


def list_main(arguments: Sequence[str]) -> None:
    """Print the requested list; without WHAT, the names of the lists.

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
        description="\n".join(["List what can be chosen by name.", *lines]),
        args=arguments,
    )


def list_known(what: Positional[_What], *, json: bool = False) -> None:
    """List what can be chosen by name.

    Args:
        what: Which list to print; `rrl list` alone describes the lists.
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

    def about(name: str) -> _Entry:
        method = METHODS[name]
        return {"summary": method.summary, "settings": _settings(method=method.config_class())}

    yield from _each(METHODS, about)


def _students() -> Iterator[_Entry]:
    from rrl_agents.students.registry import STUDENTS

    for name, student in STUDENTS.items():
        settings = _settings(network=student.network, student=student.learning)
        yield {"name": name, "summary": student.summary, "settings": settings}


def _networks() -> Iterator[_Entry]:
    from rrl_agents.networks.torsos import NETWORKS

    yield from _each(NETWORKS, lambda name: {"summary": NETWORKS[name].summary})


def _environments() -> Iterator[_Entry]:
    from rrl_agents.environments.registry import ENVIRONMENTS, EnvironmentConfig

    def about(name: str) -> _Entry:
        kind = ENVIRONMENTS[name]
        games = list(kind.games())
        return {
            "summary": kind.summary,
            "games": games,
            "games_are_named_by": kind.open_games,
            "sticky_action_probability": kind.sticky_action_probability,
            "clips_rewards": kind.clips_rewards,
            # An environment with a single game ignores the game's name.
            "settings": _settings(
                environment=EnvironmentConfig(
                    name=name, game=next(iter(games), "CartPole-v1" if kind.open_games else "")
                )
            ),
        }

    yield from _each(ENVIRONMENTS, about)


def _each(names: Iterable[str], about: Callable[[str], _Entry]) -> Iterator[_Entry]:
    """An entry for each name; an entry of a broken plugin says what is wrong."""
    for name in names:
        try:
            yield {"name": name, **about(name)}
        except ValueError as error:
            yield {"name": name, "summary": f"cannot be used: {error}"}


def _presets() -> Iterator[_Entry]:
    from services.launcher.presets import NAMED_PRESETS, Preset
    from services.launcher.settings import known_settings

    for method in NAMED_PRESETS:
        # `rrl list methods` reports broken methods of other packages.
        presets: Mapping[str, Preset] = {}
        with contextlib.suppress(ValueError):
            presets = NAMED_PRESETS[method]
        for name, preset in presets.items():
            settings = known_settings(preset.config)
            yield {"method": method, "name": name, "summary": preset.summary, "settings": settings}


_LISTS: Mapping[str, Callable[[], Iterator[_Entry]]] = {
    "methods": _methods,
    "students": _students,
    "networks": _networks,
    "environments": _environments,
    "presets": _presets,
}


def _settings(**parts: object) -> dict[str, object]:
    """The settings of parts of an experiment, by dotted name."""
    from services.launcher.settings import known_settings

    return {
        f"{part}.{name}": value
        for part, config in parts.items()
        for name, value in known_settings(config).items()
    }
