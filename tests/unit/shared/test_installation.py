"""The packages that a missing one is looked up in are those that the code imports."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from services.shared.installation import ADVICE, Side, advice_for
from tests.support.requirements import closure

ROOT = Path(__file__).parents[3]
SIDES: tuple[Side, ...] = ("teacher", "train")
OURS = {"rrl_agents", "rrl_client", "services"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def modules(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (name.name for name in node.names)
        case ast.ImportFrom(module=str(module), level=0):
            yield module
        case ast.Call(args=[ast.Constant(value=str(module)), *_]) if ast.unparse(node.func) in (
            "importlib.import_module",
            "importlib.util.find_spec",
        ):
            yield module


def imported() -> set[str]:
    """Top-level modules of others that a file of ours imports, wherever in the file."""
    files = [path for room in ("rrl_agents", "services") for path in (ROOT / room).rglob("*.py")]
    tops = {
        module.partition(".")[0]
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        for module in modules(node)
    }
    return tops - sys.stdlib_module_names - OURS


def distributions(extra: Side) -> set[str]:
    """What the extra brings, and all that it requires. Launchpad comes by a script of its own."""
    # What `make setup` installs has the balloon and the Hub, too (deploy/local/lock.sh).
    beside = ("balloon", "hub") if extra == "train" else ()
    own = [*EXTRAS[extra], *(line for name in beside for line in EXTRAS[name])]
    own = [line for line in own if not line.startswith("rrl-agents")]
    names = closure([*PROJECT["dependencies"], *EXTRAS["teacher"], *own])
    return {canonicalize_name(name) for name in names} | (
        {"dm-launchpad"} if extra == "train" else set()
    )


def test_what_the_advice_installs_brings_every_package_that_we_import() -> None:
    modules = imported()
    assert len(modules) > 20
    assert {module for module in modules if advice_for(module, "train") is None} == set()
    # These lie in an environment of their own, and are distributions of the same names.
    trackers = {module for module in modules if advice_for(module, "train") == ADVICE["track"]}
    assert trackers == {re.match(r"\w+", line)[0] for line in EXTRAS["track"]}  # type: ignore[index]
    owners = importlib.metadata.packages_distributions()
    brings = {ADVICE[side]: distributions(side) for side in SIDES}
    for module in modules - trackers:
        owner = {canonicalize_name(name) for name in owners[module]}
        for side in SIDES:
            advice = advice_for(f"{module}.inner", side)
            assert owner & brings[advice or ""], (module, side, advice)
        if owner & brings[ADVICE["teacher"]]:
            assert advice_for(module, "teacher") == ADVICE["teacher"], module


@pytest.mark.parametrize("module", ["", "torch", "my_module", "services.nothing", "jaxy"])
def test_what_no_extra_brings_has_no_advice(module: str) -> None:
    assert advice_for(module, "teacher") is None
    assert advice_for(module, "train") is None
