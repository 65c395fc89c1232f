"""Who may import whom: every import statement of the repository is parsed and held to the rules.

`rrl_agents` and `rrl_client` import nothing of ours outside themselves; inside `rrl_agents`, parts
come before methods. A service imports both, `services.shared`, and of a service below it only its
client face. Each heavy dependency has one owner.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# Lower rooms first; a room imports itself and lower ones. Behaviour compiles a network's policy.
RRL_AGENTS_LEVELS = {
    "types": 0,
    "scores": 0,
    "durable_files": 0,
    "environments": 1,
    "networks": 1,
    "losses": 1,
    "schedules": 1,
    "behaviour": 2,
    "checkpoints": 2,
    "students": 2,
    "training": 3,
    "reincarnation": 4,
}

SERVICE_LEVELS = {
    "shared": 0,
    "library": 1,
    "teacher": 2,
    "replay": 3,
    "learner": 4,
    "actor": 5,
    "evaluator": 5,
    "launcher": 6,
    "bench": 7,
    "cli": 8,
}

# What other services may see of a service: its clients and the data they speak of.
CLIENT_FACES = {
    "library": {"catalogue"},
    "replay": {
        "writer",
        "reader",
        "sharded_reader",
        "stalls",
        "connection",
        "control_client",
        "item_layout",
    },
    "learner": {
        "weight_client",
        "progress_client",
        "codec",
        "evaluation_records",
        "checkpoint_records",
    },
}

WHOLE_SERVICE_USERS = {"launcher", "bench", "cli"}

# Heavy dependency -> folders or files that own it.
OWNERS = {
    "gin": ("services/cli/gin/",),
    "reverb": ("services/replay/",),
    "tensorflow": ("services/replay/",),
    "launchpad": ("services/launcher/",),
    "grpc": (
        "rrl_client/",
        "services/teacher/",
        "services/learner/",
        "services/replay/control_",
        "services/replay/v1/",
        "services/shared/",
    ),
}


class Import(NamedTuple):
    """One imported module, and where."""

    path: str
    line: int
    module: str

    @property
    def parts(self) -> list[str]:
        return self.module.split(".")

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def _imports(folder: str) -> Iterator[Import]:
    for file in sorted((ROOT / folder).rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(path, node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                yield from _imports_from(path, node)


def _imports_from(path: str, node: ast.ImportFrom) -> Iterator[Import]:
    assert node.level == 0, f"{path}:{node.lineno}: write the whole module name"
    module = node.module or ""
    for alias in node.names:
        # `from package import module` imports that module; `from module import name` does not.
        inner = ROOT / module.replace(".", "/") / alias.name
        is_module = inner.with_suffix(".py").is_file() or inner.is_dir()
        yield Import(path, node.lineno, f"{module}.{alias.name}" if is_module else module)


def _room(path: str) -> str:
    return Path(path).parts[1].removesuffix(".py")


def test_rrl_agents_imports_nothing_of_ours_outside_itself() -> None:
    ours = ("services", "protos", "tests", "benchmarks", "examples")
    broken = [str(found) for found in _imports("rrl_agents") if found.parts[0] in ours]
    assert not broken


def test_inside_rrl_agents_parts_come_before_methods() -> None:
    broken = []
    for found in _imports("rrl_agents"):
        if found.parts[0] != "rrl_agents":
            continue
        room, used = _room(found.path), found.parts[1]
        if room != used and RRL_AGENTS_LEVELS[used] >= RRL_AGENTS_LEVELS[room]:
            broken.append(str(found))
    assert not broken


def test_the_client_imports_nothing_of_ours_outside_itself() -> None:
    ours = ("services", "rrl_agents", "tests", "benchmarks", "examples")
    assert not [str(found) for found in _imports("rrl_client") if found.parts[0] in ours]


# Stubs of a contract -> those who send or read its messages. The launcher shows the learner's
# progress messages as they come.
STUBS = {
    "rrl_client.v1": ("rrl_client/", "services/teacher/"),
    "services.learner.v1": ("services/learner/", "services/launcher/"),
    "services.replay.v1": ("services/replay/",),
}


@pytest.mark.parametrize("stubs", sorted(STUBS))
def test_messages_of_a_contract_are_used_by_its_two_sides_only(stubs: str) -> None:
    broken = [
        str(found)
        for folder in ("rrl_agents", "rrl_client", "services")
        for found in _imports(folder)
        if found.module.startswith(stubs) and not found.path.startswith(STUBS[stubs])
    ]
    assert not broken


def test_services_use_only_the_client_faces_of_services_below_them() -> None:
    broken = []
    for found in _imports("services"):
        if found.parts[0] != "services" or len(found.parts) < 3:
            continue
        room, (_, used, module, *_) = _room(found.path), found.parts
        if room == used or used == "shared":
            continue
        is_below = SERVICE_LEVELS[used] < SERVICE_LEVELS[room]
        is_face = room in WHOLE_SERVICE_USERS or module in CLIENT_FACES.get(used, set())
        if not (is_below and is_face):
            broken.append(str(found))
    assert not broken


def test_the_learner_does_not_know_the_teacher_service() -> None:
    used = [str(found) for found in _imports("services/learner")]
    assert not [text for text in used if "imports services.teacher" in text]


@pytest.mark.parametrize("dependency", sorted(OWNERS))
def test_a_heavy_dependency_is_imported_by_its_owner_only(dependency: str) -> None:
    broken = [
        str(found)
        for folder in ("rrl_agents", "rrl_client", "services")
        for found in _imports(folder)
        if found.parts[0] == dependency and not found.path.startswith(OWNERS[dependency])
    ]
    assert not broken


@pytest.mark.parametrize(
    "folder", ["rrl_agents", "rrl_client", "services", "benchmarks", "examples"]
)
def test_nothing_imports_tests(folder: str) -> None:
    assert not [str(found) for found in _imports(folder) if found.parts[0] == "tests"]


def test_examples_use_only_the_teachers_client() -> None:
    ours = ("services", "rrl_agents", "rrl_client")
    used = {found.module for found in _imports("examples") if found.parts[0] in ours}
    assert used <= {"rrl_client"}
