"""The packages that a missing one is looked up in are those that the code imports."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from services.shared.installation import ADVICE, Side, advice_for
from tests.support.requirements import closure

ROOT = Path(__file__).parents[3]
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


IMPORTED = sorted(imported())


@functools.cache
def owners_by_module() -> dict[str, set[str]]:
    found = importlib.metadata.packages_distributions()
    return {module: {canonicalize_name(name) for name in found[module]} for module in IMPORTED}


@functools.cache
def distributions(extra: Side) -> set[str]:
    """What the extra brings, and all that it requires. Launchpad comes by a script of its own."""
    own = [line for line in EXTRAS[extra] if not line.startswith("rrl-agents")]
    names = closure([*PROJECT["dependencies"], *EXTRAS["teacher"], *own])
    return {canonicalize_name(name) for name in names} | (
        {"dm-launchpad"} if extra == "train" else set()
    )


def test_every_package_that_we_import_is_advised() -> None:
    assert len(IMPORTED) > 20
    assert [name for name in IMPORTED if advice_for(name, "train") is None] == []


@pytest.mark.parametrize("module", IMPORTED)
def test_what_the_advice_installs_brings_the_package(module: str) -> None:
    owners = owners_by_module()[module]
    brings = {ADVICE[side]: distributions(side) for side in ("teacher", "train")}
    for extra in ("teacher", "train"):
        advice = advice_for(f"{module}.inner", extra)
        assert advice is not None
        assert owners & brings[advice], (extra, advice)
    if owners & brings[ADVICE["teacher"]]:
        assert advice_for(module, "teacher") == ADVICE["teacher"]


@pytest.mark.parametrize("module", ["", "torch", "my_module", "services.nothing", "jaxy"])
def test_what_no_extra_brings_has_no_advice(module: str) -> None:
    assert advice_for(module, "teacher") is None
    assert advice_for(module, "train") is None
