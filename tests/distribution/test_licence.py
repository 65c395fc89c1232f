"""Licence and citation, as the tools that read them want them."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_licence_is_the_apache_licence_word_for_word() -> None:
    # As another package under it ships it.
    (file,) = (f for f in metadata.files("absl-py") or () if f.name == "LICENSE")
    assert (ROOT / "LICENSE").read_text() == file.read_text()
    assert PROJECT["license"] == "Apache-2.0"


def test_the_citation_has_the_fields_that_its_format_requires() -> None:
    # https://github.com/citation-file-format/citation-file-format/blob/1.2.0/schema-guide.md
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= CITATION.keys()
    for paper in (CITATION["preferred-citation"], *CITATION["references"]):
        assert {"type", "title", "authors"} <= paper.keys()
        assert all({"family-names", "given-names"} <= author.keys() for author in paper["authors"])


def test_the_citation_names_this_software_as_it_is_distributed() -> None:
    assert CITATION["title"].startswith(f"{PROJECT['name']}:")
    assert CITATION["license"] == PROJECT["license"]
    assert [author["name"] for author in CITATION["authors"]] == [
        author["name"] for author in PROJECT["authors"]
    ]


def test_the_readme_cites_the_same_paper() -> None:
    paper = CITATION["preferred-citation"]
    readme = (ROOT / "README.md").read_text()
    assert f"{{{paper['title']}}}" in readme
    assert str(paper["year"]) in readme
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names'].split()[0]}" in readme
