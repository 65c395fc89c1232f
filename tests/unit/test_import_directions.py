"""Who may import whom: every import statement of the repository is parsed and held to the rules.

`rrl_client` imports nothing of ours outside itself, `rrl_agents` only what a policy takes and gives
(`rrl_client.spec`, standard library and numpy); inside `rrl_agents`, parts come before methods. A
service imports both, `services.shared`, and of a service below it only its client face. Each heavy
dependency has one owner.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("rrl_agents", "rrl_client", "services")

# Lower rooms first; a room imports itself and lower ones. Behaviour compiles a network's policy.
RRL_AGENTS_LEVELS = {
    "types": 0,
    "plugins": 0,
    "ranges": 0,
    "scores": 0,
    "durable_files": 0,
    "typed_json": 0,
    "escaped_markdown": 0,
    "ensembles": 1,
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
    "tracking": 1,
    "teacher": 2,
    "replay": 3,
    "learner": 4,
    "recorded_data": 4,
    "actor": 5,
    "evaluator": 5,
    "run_report": 5,
    "launcher": 6,
    "bench": 7,
    "cli": 8,
}

# What other services may see of a service: its clients and the data they speak of.
CLIENT_FACES = {
    "library": {"catalogue", "teacher_references", "confined"},
    "tracking": {"run_tracking", "tracker"},
    "replay": {
        "writer",
        "reader",
        "stalls",
        "connection",
        "control_client",
        "episodes",
        "failures",
        "item_layout",
        "kept_rows",
        "local_table",
        "local_tables",
        "local_writer",
        "samples",
        "table_names",
        "table_reader",
        "undecoded_rows",
    },
    "learner": {
        "client",
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
    "tensorflow": (
        "services/replay/",
        "rrl_agents/checkpoints/dopamine_agents/tensorflow_files.py",
    ),
    "launchpad": ("services/launcher/",),
    "tensorboard.summary": ("services/tracking/",),
    "trackio": ("services/tracking/",),
    "wandb": ("services/tracking/",),
    "mlflow": ("services/tracking/",),
    # What other services say on their metrics pages is read in one place.
    "prometheus_client.parser": ("services/cli/metrics_pages",),
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

    @property
    def room(self) -> str:
        """Where it stands: the folder or file inside the source folder."""
        return Path(self.path).parts[1].removesuffix(".py")

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


@functools.cache
def imports(folder: str) -> list[Import]:
    return [*_imports(folder)]


def offenders(is_wrong: Callable[[Import], bool], *folders: str) -> list[str]:
    """The imports of some folders, by default of all sources, that break a rule."""
    of_all = (found for folder in folders or SOURCES for found in imports(folder))
    return [str(found) for found in of_all if is_wrong(found)]


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


def test_rrl_agents_imports_nothing_of_ours_but_what_a_policy_takes_and_gives() -> None:
    ours = ("services", "rrl_client", "protos", "tests", "benchmarks", "examples")
    assert not offenders(
        lambda found: found.parts[0] in ours and found.module != "rrl_client.spec", "rrl_agents"
    )


def test_what_a_policy_takes_and_gives_needs_the_standard_library_and_numpy() -> None:
    allowed = {*sys.stdlib_module_names, "numpy"}
    assert not offenders(
        lambda found: found.path == "rrl_client/spec.py" and found.parts[0] not in allowed
    )


def test_inside_rrl_agents_parts_come_before_methods() -> None:
    def is_upward(found: Import) -> bool:
        if found.parts[0] != "rrl_agents" or found.parts[1] == found.room:
            return False
        return RRL_AGENTS_LEVELS[found.parts[1]] >= RRL_AGENTS_LEVELS[found.room]

    assert not offenders(is_upward, "rrl_agents")


def test_the_client_imports_nothing_of_ours_outside_itself() -> None:
    ours = ("services", "rrl_agents", "tests", "benchmarks", "examples")
    assert not offenders(lambda found: found.parts[0] in ours, "rrl_client")


# Stubs of a contract -> those who send or read its messages. The launcher and `rrl status` show the
# learner's progress messages as they come.
STUBS = {
    "rrl_client.v1": ("rrl_client/", "services/teacher/"),
    "services.learner.v1": ("services/learner/", "services/launcher/", "services/cli/status/"),
    "services.replay.v1": ("services/replay/",),
}


@pytest.mark.parametrize("stubs", sorted(STUBS))
def test_messages_of_a_contract_are_used_by_its_two_sides_only(stubs: str) -> None:
    assert not offenders(
        lambda found: found.module.startswith(stubs) and not found.path.startswith(STUBS[stubs])
    )


def test_services_use_only_the_client_faces_of_services_below_them() -> None:
    def is_no_face(found: Import) -> bool:
        if found.parts[0] != "services" or len(found.parts) < 3:
            return False
        room, (_, used, module, *_) = found.room, found.parts
        if used in (room, "shared"):
            return False
        is_below = SERVICE_LEVELS[used] < SERVICE_LEVELS[room]
        is_face = room in WHOLE_SERVICE_USERS or module in CLIENT_FACES.get(used, set())
        return not (is_below and is_face)

    assert not offenders(is_no_face, "services")


def test_only_those_that_load_teachers_import_the_teacher_service() -> None:
    allowed = {"teacher", *WHOLE_SERVICE_USERS}
    assert not offenders(
        lambda found: found.module.startswith("services.teacher") and found.room not in allowed,
        "services",
    )


# How any service of ours is reached; the rest of `rrl_client` is about asking a teacher.
CHANNELS = {"credentials", "loop_thread", "proxies", "security", "spec", "token_channel"}


@pytest.mark.parametrize("room", ["replay", "run_report"])
def test_rooms_without_a_teacher_do_not_import_its_clients(room: str) -> None:
    assert not offenders(
        lambda found: found.parts[0] == "rrl_client" and not CHANNELS & {*found.parts[1:2]},
        f"services/{room}",
    )


# What computes policies, and what the rest of the teacher sees of them: no more than numpy.
COMPUTES_POLICIES = {"jax", "flax", "onnx", "onnxruntime"}
POLICY_FACE = {"interface", "source"}
POLICY_BUILDERS = ("services/teacher/server.py", "services/teacher/in_process.py")


def test_a_teacher_sees_of_its_policies_an_interface_of_numpy() -> None:
    outside = [
        found
        for found in imports("services/teacher")
        if not found.path.startswith("services/teacher/policies/")
        and found.path not in POLICY_BUILDERS
    ]
    assert not [str(found) for found in outside if found.parts[0] in COMPUTES_POLICIES]
    used = [found for found in outside if found.parts[:3] == ["services", "teacher", "policies"]]
    assert not [str(found) for found in used if found.parts[3] not in POLICY_FACE]
    face = [found for found in imports("services/teacher/policies") if "interface" in found.path]
    own = {
        found.module for found in face if found.parts[0] in ("rrl_agents", "rrl_client", "services")
    }
    assert own == {"rrl_client.spec"}


def test_one_file_knows_all_kinds_of_policies() -> None:
    kinds = {f"services.teacher.policies.{kind}_policy" for kind in ("jax", "onnx", "python")}
    users = {found.path for found in imports("services") if found.module in kinds}
    assert users == {
        "services/teacher/policies/loading.py",
        "services/teacher/policies/backend_choice.py",
    }


@pytest.mark.parametrize("dependency", sorted(OWNERS))
def test_a_heavy_dependency_is_imported_by_its_owner_only(dependency: str) -> None:
    assert not offenders(
        lambda found: (
            f"{found.module}.".startswith(f"{dependency}.")
            and not found.path.startswith(OWNERS[dependency])
        )
    )


@pytest.mark.parametrize("folder", [*SOURCES, "benchmarks", "examples"])
def test_nothing_imports_tests(folder: str) -> None:
    assert not offenders(lambda found: found.parts[0] == "tests", folder)


def test_examples_use_only_the_teachers_client_and_parts_only_those_they_are_made_of() -> None:
    ours = ("services", "rrl_agents", "rrl_client")
    parts = "examples/corridor_plugin/"
    used = [found for found in imports("examples") if found.parts[0] in ours]
    assert {found.module for found in used if not found.path.startswith(parts)} <= {"rrl_client"}
    assert {found.parts[0] for found in used if found.path.startswith(parts)} == {"rrl_agents"}
