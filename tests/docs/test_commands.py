"""What README, guides and examples say to type is what the programs take."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import tyro

from services.cli.main import COMMANDS, run
from tests.support.pages import PAGES, ROOT, Block, blocks, commands


def _commands(program: str) -> list[tuple[str, list[str]]]:
    """Where a program is called in a block of shell, and its arguments."""
    calls = [
        (str(command), command.words[1:])
        for command in commands()
        # Names of the plugin exist once it is installed: tests/services/test_plugin_package.py.
        if "corridor_plugin" not in command.page and Path(command.words[0]).name == program
    ]
    assert calls, program
    return calls


def _cases(program: str) -> Any:
    return pytest.mark.parametrize(
        "arguments", [pytest.param(words, id=where) for where, words in _commands(program)]
    )


class _Parsed(BaseException):
    """The command line was read; nothing has been done."""


@_cases("rrl")
def test_every_rrl_command_parses(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if arguments == ["--version"]:
        return
    read = tyro.cli

    def only_read(target: Any, **settings: Any) -> None:
        if inspect.isfunction(target):

            @functools.wraps(target)
            def nothing(*args: object, **flags: object) -> None:
                del args, flags

            target = nothing
        read(target, **settings)
        raise _Parsed

    monkeypatch.setattr(tyro, "cli", only_read)
    name = " ".join(arguments[:2]) if " ".join(arguments[:2]) in COMMANDS else arguments[0]
    assert name in COMMANDS
    with pytest.raises(_Parsed):
        run(arguments)


@_cases("make")
def test_every_make_target_exists(arguments: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(arguments) <= set(targets)


@_cases("python")
def test_what_python_runs_exists(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]) is not None
    elif arguments[0] == "-c":
        ast.parse(arguments[1])
    else:
        assert (ROOT / arguments[0]).is_file()


@pytest.mark.parametrize("block", list(blocks("python")), ids=str)
def test_what_python_blocks_import_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []
        elif isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        if re.match(r"\w+:", target):
            continue
        linked = (page.parent / path) if path else page
        if not linked.exists() or (heading and heading not in _headings(linked)):
            missing.append(target)
    assert missing == []


def _headings(page: Path) -> set[str]:
    """The anchors GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def _versions(lock: str) -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "locks" / lock).read_text(), re.MULTILINE)
    return dict(pins)


def test_the_lock_for_a_gpu_adds_cuda_to_the_environment_and_replaces_nothing() -> None:
    environment, gpu = _versions("train.lock"), _versions("images/training-cuda.lock")
    added = {name for name in gpu if name not in environment}
    assert {name: gpu[name] for name in gpu if name not in added} == {
        name: environment[name] for name in gpu if name not in added
    }
    assert all(re.match(r"nvidia-|jax-cuda12-", name) for name in added), added
    assert gpu["jax-cuda12-plugin"] == environment["jax"]
