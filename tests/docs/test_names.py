"""Names in the documentation: each file and folder is there, and the tree leaves none out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def tracked() -> set[PurePosixPath]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {PurePosixPath(path) for path in listed.stdout.split("\0") if path}


def folders() -> set[str]:
    return {str(folder) for path in tracked() for folder in path.parents} - {"."}


def tree() -> dict[str, bool]:
    """The folders of the tree -> whether what lies below is covered by their line."""
    (block,) = re.findall(r"## The tree.*?```text\n(.*?)```", ARCHITECTURE.read_text(), re.DOTALL)
    lines = [re.fullmatch(r"(\S+?)/(\*\*)?\s+\S.*", line) for line in block.splitlines()]
    assert all(lines), "each line is a folder, then what it is for"
    return {line[1]: line[2] is not None for line in lines if line}


def test_every_folder_of_the_tree_is_there() -> None:
    assert {*tree()} - folders() == set()


def test_no_folder_is_missing_from_the_tree() -> None:
    named = tree()
    whole = {folder for folder, covers in named.items() if covers}
    left_out = {
        folder
        for folder in folders() - {*named}
        if not whole & {str(parent) for parent in PurePosixPath(folder).parents}
        # With nothing but folders in it, which are named themselves.
        and any(str(path.parent) == folder for path in tracked())
    }
    assert left_out == set()


def test_the_tree_is_in_the_order_of_names() -> None:
    assert [*tree()] == sorted(tree())


@pytest.mark.parametrize("page", ["architecture.md", "contributing.md"])
def test_every_file_that_is_named_is_there(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    files = {str(path) for path in tracked()} | folders()
    named = set(re.findall(r"`([\w./-]+)`", text))
    beside = {PurePosixPath(path).name for path in files}
    wrong = set()
    for name in named:
        if "NAME" in name:
            continue
        if "/" in name and name.rstrip("/") not in files:
            # A path may begin inside a service: `batching/query.py`.
            wrong |= set() if any(path.endswith(f"/{name}") for path in files) else {name}
        elif name.endswith((".py", ".toml", ".md", ".lock", ".csv")) and "/" not in name:
            wrong |= {name} - beside
    assert wrong == set()


def test_contributors_find_their_guide_where_github_looks_for_it() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    targets = re.findall(r"\]\(([\w/.]+)\)", guide)
    assert {"docs/contributing.md", "docs/architecture.md"} <= {*targets}
    assert all((ROOT / target).is_file() for target in targets)
