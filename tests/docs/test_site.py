"""The site of docs/ builds without a broken link, reference or entry of its menu."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rrl_client

ROOT = Path(__file__).resolve().parents[2]
MKDOCS = Path(sys.executable).with_name("mkdocs")


def _build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MKDOCS, "build", "--config-file", source / "mkdocs.yml", "--site-dir", site],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_site_builds_strictly_with_the_api_of_both_packages(tmp_path: Path) -> None:
    built = _build(ROOT, tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    client = (tmp_path / "api" / "client.html").read_text()
    assert 'id="rrl_client.TeacherClient.evaluate"' in client
    assert [name for name in rrl_client.__all__ if f'id="rrl_client.{name}"' not in client] == []
    agents = (tmp_path / "api" / "agents.html").read_text()
    assert 'id="rrl_agents.reincarnation.recipe.Recipe"' in agents
    # A file outside docs/ has no page: its path stands there instead of a link.
    architecture = (tmp_path / "architecture.html").read_text()
    assert "<code>protos/rrl/teacher/v1/teacher.proto</code>" in architecture


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["[gone](gone.md)", "[gone](methods.md#gone)", "::: rrl_client.gone"]
)
def test_a_broken_link_or_reference_fails_the_build(tmp_path: Path, text: str) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    page = tmp_path / "docs" / "methods.md"
    page.write_text(f"{page.read_text()}\n\n{text}\n")
    built = _build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert "gone" in built.stdout + built.stderr
