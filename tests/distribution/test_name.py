"""No file makes a reader install `rrl` of the public index, which is somebody else's package.

Nothing of ours is on the index either, so no command may name `rrl-agents` or `rrl-client` as if it
were: what is installed is a path.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.shared.installation import ADVICE

ROOT = Path(__file__).parents[2]
# Not written out in one piece: this file is searched, too.
STRANGER = "r" + "rl"

_NAME = rf"{STRANGER}(?:[-_.](?:agents|client))?"
_INSTALLER = r"\b(?:pip3?|pipx|uv|uvx|conda|mamba|poetry|pdm)\b[^\n`;&|]*?"
_VERB = r"\b(?:install|add|download|wheel|run|with|reinstall-package|upgrade-package)\b"
# Directly after the verb, or after other words of the same command; there a line may end.
_WORDS = r"(?:\s+|(?:[ \t]+[^\s`;&|]+)+[ \t]+)"
_END = r"(?=$|[\s`)\[=<>~!@;]|[.,](?:\s|$))"
ADVISED = (
    re.compile(rf"{_INSTALLER}{_VERB}{_WORDS}{_NAME}{_END}", re.MULTILINE | re.IGNORECASE),
    re.compile(rf"\buvx\s+{_NAME}{_END}", re.MULTILINE | re.IGNORECASE),
    re.compile(rf"(?<![\w.\-/$]){STRANGER}\[[a-z]", re.IGNORECASE),
    re.compile(rf"(?<![\w.\-/$]){STRANGER}\s*(?:==|~=|>=|<=|!=)", re.IGNORECASE),
)


def advised(text: str) -> list[str]:
    """What in a text names a distribution to install that is not ours or not there."""
    # Quotes and commas: also the words of a command that a program starts are a command.
    plain = re.sub(r"[\"',]", " ", text.replace("\\\n", " "))
    return [found[0] for pattern in ADVISED for found in pattern.finditer(plain)]


def tracked_texts() -> dict[str, str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60
    ).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    contents = {str(file.relative_to(ROOT)): file.read_bytes() for file in files if file.is_file()}
    return {name: data.decode() for name, data in contents.items() if b"\0" not in data}


def test_no_tracked_file_says_to_install_a_strangers_package_or_an_unpublished_one() -> None:
    texts = tracked_texts()
    assert {"README.md", "services/cli/main.py", "locks/train.lock"} <= texts.keys()
    assert {name: found for name, text in texts.items() if (found := advised(text))} == {}


@pytest.mark.parametrize(
    "command",
    [
        "pip install {}",
        "pip install '{}[train]'",
        "python3 -m pip install -q --upgrade {}==0.1",
        "`pip install {}`, no extras",
        "the package {}[train]",
        "uv add {}",
        "uv pip install jax {}",
        "uv run --with {} {} demo",
        "uvx {} demo",
        "pipx run {} demo",
        "pip install \\\n  {}",
        "run `pip install\n{}` in it",
        '["pip", "install", "{}"]',
        '("--reinstall-package", "{}"), uv',
        "{}>=0.1",
        "pip install {}-agents",
        "uv add '{}-client'",
    ],
)
def test_every_way_to_name_it_is_found(command: str) -> None:
    text = command.format(*[STRANGER] * command.count("{}"))
    if text.endswith(", uv"):
        text = f"uv pip install {text}"
    assert advised(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install path/to/this/repository",
        "pip install '.[teacher]'",
        "pip install . ale-py gymnasium\n{} teacher serve",
        "install it (`pip install ./my_package`) and run `{} demo`",
        "pip install -r /opt/{}/requirements.txt",
        "{}-agents[teacher]",
        "the command stays `{}`",
        "docker run {}-teacher:cuda",
    ],
)
def test_what_installs_a_path_is_left_alone(text: str) -> None:
    assert advised(text.format(*[STRANGER] * text.count("{}"))) == []


def test_the_distribution_has_its_own_name_and_requires_no_strangers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "rrl-agents"
    assert list(project["scripts"]) == ["rrl"]
    extras = project["optional-dependencies"].values()
    required = [*project["dependencies"], *(line for lines in extras for line in lines)]
    assert STRANGER not in {canonicalize_name(Requirement(line).name) for line in required}


@pytest.mark.parametrize("side", ADVICE)
def test_every_advised_command_is_one_that_a_checkout_has(side: str) -> None:
    commands = re.findall(r"`([^`]+)`", ADVICE[side])  # type: ignore[index]
    assert commands
    for command in commands:
        if target := re.fullmatch(r"make (\w+)", command):
            assert re.search(rf"^{target[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif extra := re.fullmatch(r"pip install '\.\[(\w+)\]'", command):
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert extra[1] in project["optional-dependencies"]
        elif lock := re.fullmatch(r"\.venv/bin/pip install -r (locks/\S+)", command):
            assert (ROOT / lock[1]).is_file()
        else:
            assert command.startswith("docker compose up ")
            assert (ROOT / "docker-compose.yml").is_file()
            # The README's own.
            assert command in (ROOT / "README.md").read_text()
