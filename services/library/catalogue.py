"""Teachers by name: bundled with this package or others, fetched, imported, exported from a run.

Other packages declare theirs, each a function that makes a policy, in the entry point group
`rrl.teachers`.

A name is `<Game>/<agent>`, e.g. `Pong/dqn-bundled`, `Breakout/dqn400-run1` or `Pong/my-student`. It
can be used wherever a path can; `./Pong/...` is always a path.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import rrl_agents
from rrl_agents import plugins
from rrl_agents.checkpoints.fetched_source import SOURCE_FILE
from rrl_agents.checkpoints.teacher_card import CARD_FILE
from rrl_agents.environments.game_names import name_key, paper_name
from services.library.places import cache_directory, exported_directory, imported_directory
from services.shared.errors import UserError

BUNDLED_DIRECTORY = Path(rrl_agents.__file__).parent / "teachers"
"""Folder of the teachers that ship with this package, one directory each."""

BUNDLED, FETCHED, IMPORTED, EXPORTED = "bundled", "fetched", "imported", "exported"
PACKAGED = "packaged"

TEACHERS_GROUP = "rrl.teachers"

_NAME_PART = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}"
_NAME = re.compile(rf"{_NAME_PART}/{_NAME_PART}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One teacher of the catalogue.

    Attributes:
        name: `<Game>/<agent>`.
        kind: "bundled", "packaged", "fetched", "imported" or "exported".
        path: Its directory; for a packaged teacher, its file.
    """

    name: str
    kind: str
    path: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackagedTeacher:
    """A teacher in a file of another package.

    Attributes:
        package: The package that contains it.
        file: Its file, relative to the package's folder.
        game: The task it plays, as named here.
        algorithm: Algorithm that trained it.
    """

    package: str
    file: str
    game: str
    algorithm: str


PACKAGED_TEACHERS: Mapping[str, PackagedTeacher] = {
    "BLE/perciatelli44": PackagedTeacher(
        package="balloon_learning_environment",
        file="models/perciatelli44.pb",
        game="balloon",
        algorithm="QR-DQN",
    ),
}
"""Name -> its location, whether or not the package is installed."""

_PLAYERS = "rrl_agents.environments.balloon_players"
_OWN_POLICIES: Mapping[str, str] = {
    "BLE/station_seeker": f"{_PLAYERS}:StationSeeker",
    "BLE/random": f"{_PLAYERS}:Random",
}
"""Name -> `module:factory` of our policies without parameters."""


def entries() -> list[Entry]:
    """All available teachers by name, without reading their files."""
    found = [
        *_bundled(),
        *_packaged(),
        *_named(cache_directory() / "checkpoints", SOURCE_FILE, FETCHED),
        *_named(imported_directory(), CARD_FILE, IMPORTED),
        *_named(exported_directory(), CARD_FILE, EXPORTED),
    ]
    return sorted(found, key=lambda entry: entry.name.lower())


def locate(name_or_path: str) -> str:
    """Resolve a name.

    Args:
        name_or_path: A name of the catalogue, in any spelling of the game; a bundled teacher's
            short name ("pong_dqn"); a name that an installed package declares; or any other
            reference to a teacher, which is returned unchanged.

    Returns:
        The path of the named teacher's directory; the `module:factory` of a declared one; or the
        argument.

    Raises:
        UserError: It looks like a name with a known game, but there is no such teacher and no such
            path; lists similar names.
    """
    if name_or_path.isidentifier() and (BUNDLED_DIRECTORY / name_or_path / CARD_FILE).is_file():
        return str(BUNDLED_DIRECTORY / name_or_path)
    declared = installed_teachers()
    spelled = next((name for name in declared if _is_same(name, name_or_path)), None)
    if spelled is not None and not Path(name_or_path).exists():
        return declared[spelled]
    if not _NAME.fullmatch(name_or_path):
        return name_or_path
    named = _find_named(name_or_path)
    if named is not None:
        return str(named)
    if Path(name_or_path).exists():
        return name_or_path
    packaged = packaged_teacher(name_or_path)
    if packaged is not None:
        raise UserError(
            f"{name_or_path} is part of the package {packaged.package}, which is not installed "
            "here: install it, e.g. with `make setup`"
        )
    names = [*(entry.name for entry in entries()), *declared]
    near = ", ".join(difflib.get_close_matches(name_or_path, names, cutoff=0.3))
    raise UserError(
        f"no teacher is called {name_or_path}, and there is no such path; near it: "
        f"{near or 'none'}. `rrl teacher list` shows the names, `rrl teacher fetch` gets a public "
        "agent"
    )


def installed_teachers() -> Mapping[str, str]:
    """Teachers that are code, ours and those declared by installed packages, by name.

    Returns:
        Name -> `module:factory`.
    """
    return {**_OWN_POLICIES, **plugins.declared(TEACHERS_GROUP)}


def packaged_teacher(name: str) -> PackagedTeacher | None:
    """The packaged teacher of a name; None if the name is not one."""
    return next((one for key, one in PACKAGED_TEACHERS.items() if _is_same(key, name)), None)


def _find_named(name: str) -> Path | None:
    """Directory of the named teacher, in any spelling of the game; None if the name is free."""
    return next((entry.path for entry in entries() if _is_same(entry.name, name)), None)


def _is_same(one: str, other: str) -> bool:
    """Whether two names are the same, in any spelling of the game."""
    (game, _, agent), (other_game, _, other_agent) = one.partition("/"), other.partition("/")
    if not agent:
        return one == other
    return name_key(game) == name_key(other_game) and agent == other_agent


def free_place(root: Path, name: str) -> Path:
    """The directory for a new teacher.

    Args:
        root: Folder for this kind of teachers.
        name: Its name, <Game>/<agent>.

    Raises:
        UserError: the name is invalid, or taken.
    """
    game, _, agent = name.partition("/")
    place = root / check_name(game) / check_name(agent)
    if _find_named(name) is not None:
        raise UserError(f"another teacher is called {name}; give another --name")
    return place


def check_name(part: str) -> str:
    """Refuse invalid parts of a name, which could lead out of the folder.

    Args:
        part: A game, or an agent's own name.

    Returns:
        The same.

    Raises:
        UserError: It is too long, or has other characters.
    """
    if re.fullmatch(_NAME_PART, part) is None:
        raise UserError(
            f"{part[:120]!r} is not a valid name; give 1 to 100 letters, digits, '_', '.', '+' or "
            "'-', beginning with a letter or digit"
        )
    return part


def _bundled() -> Iterator[Entry]:
    for card in BUNDLED_DIRECTORY.glob(f"*/{CARD_FILE}"):
        game, _, agent = card.parent.name.partition("_")
        yield Entry(name=f"{paper_name(game)}/{agent}-bundled", kind=BUNDLED, path=card.parent)


def _packaged() -> Iterator[Entry]:
    for name, teacher in PACKAGED_TEACHERS.items():
        found = importlib.util.find_spec(teacher.package)
        if found is None or found.origin is None:
            continue
        file = Path(found.origin).parent / teacher.file
        if file.is_file():
            yield Entry(name=name, kind=PACKAGED, path=file)


def _named(root: Path, marker: str, kind: str) -> Iterator[Entry]:
    """Complete directories two levels down: their marker is written last."""
    for path in root.glob(f"*/*/{marker}"):
        name = "/".join(path.parent.relative_to(root).parts)
        if _NAME.fullmatch(name):
            yield Entry(name=name, kind=kind, path=path.parent)
