"""Whatever names the version of this software names that of pyproject.toml.

That rrl-client is of the same version: test_client_package.py; what is installed: test_wheel.py.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
SECTIONS = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
LABEL = re.compile(r"^ +org\.opencontainers\.image\.version=\"(.*)\"", re.MULTILINE)


def test_the_changelog_dates_this_version_as_its_newest_and_keeps_room_for_the_next() -> None:
    unreleased, *released = SECTIONS
    assert unreleased == "[Unreleased]"
    dated = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", one) for one in released]
    assert all(dated), released
    found = [(tuple(map(int, one.groups()[:3])), one[4]) for one in dated if one]
    assert found == sorted(found, reverse=True)
    version, date = found[0]
    assert ".".join(map(str, version)) == VERSION
    assert CITATION["version"] == VERSION
    assert CITATION["date-released"] == datetime.date.fromisoformat(date)


@pytest.mark.parametrize("image", ["teacher", "training"])
def test_each_image_is_labelled_with_the_version(image: str) -> None:
    dockerfile = (ROOT / "deploy" / "docker" / f"{image}.Dockerfile").read_text()
    *_, last_stage = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)
    assert LABEL.findall(last_stage) == [VERSION]
