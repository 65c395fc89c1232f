from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rrl_agents.checkpoints.sealed_json import seal
from services.library import catalogue
from services.library.catalogue import BUNDLED_DIRECTORY
from services.shared.errors import UserError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put_fetched(cache: Path, name: str) -> Path:
    path = cache / "checkpoints" / name
    path.mkdir(parents=True)
    (path / "source.json").write_text(seal({"game": name.split("/")[0]}))
    return path


def put_exported(cache: Path, name: str) -> Path:
    path = cache / "exported" / name
    shutil.copytree(BUNDLED_DIRECTORY / "pong_dqn", path)
    return path


def test_every_kind_of_teacher_is_listed_by_name(cache: Path) -> None:
    put_fetched(cache, "Breakout/dqn400-run1")
    put_exported(cache, "Pong/mine")
    shutil.copytree(cache / "exported/Pong/mine", cache / "imported/Pong/theirs")
    # What was imported without a name lies beside it under its key.
    shutil.copytree(cache / "exported/Pong/mine", cache / "imported" / ("a" * 64))
    assert [(entry.name, entry.kind) for entry in catalogue.entries()] == [
        ("BLE/perciatelli44", "packaged"),
        ("Breakout/dqn400-run1", "fetched"),
        ("Pong/dqn-bundled", "bundled"),
        ("Pong/mine", "exported"),
        ("Pong/theirs", "imported"),
    ]


def test_a_directory_without_its_last_file_is_not_listed(cache: Path) -> None:
    (put_fetched(cache, "Breakout/dqn400-run1") / "source.json").unlink()
    (put_exported(cache, "Pong/mine") / "card.json").unlink()
    assert {entry.kind for entry in catalogue.entries()} == {"packaged", "bundled"}


@pytest.mark.parametrize("name", ["Pong/mine", "pong/mine", "PONG/mine"])
def test_a_name_leads_to_its_directory_in_any_spelling_of_the_game(cache: Path, name: str) -> None:
    path = put_exported(cache, "Pong/mine")
    assert catalogue.locate(name) == str(path)


def test_the_bundled_name_is_loaded_like_a_path(cache: Path) -> None:
    located = catalogue.locate("Pong/dqn-bundled")
    assert located == str(BUNDLED_DIRECTORY / "pong_dqn")
    # The short name stands where only paths are taken, too, e.g. `rrl teacher inspect pong_dqn`.
    assert catalogue.locate("pong_dqn") == located


@pytest.mark.parametrize(
    "given", ["./pong_dqn", "./Pong/mine", "/some/where/else", "package.module:make", "a/b/c", ""]
)
def test_what_has_not_the_form_of_a_name_stays_as_it_is(cache: Path, given: str) -> None:
    assert catalogue.locate(given) == given


def test_a_path_of_two_parts_stays_a_path(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/teacher").mkdir(parents=True)
    assert catalogue.locate("runs/teacher") == "runs/teacher"


@pytest.mark.parametrize("name", ["BLE/random", "ble/random"])
def test_policies_of_ours_without_parameters_have_names_in_any_spelling_of_the_game(
    cache: Path, name: str
) -> None:
    assert catalogue.locate(name) == "rrl_agents.environments.balloon_players:Random"


def test_an_unknown_name_names_the_nearest(cache: Path) -> None:
    put_fetched(cache, "Breakout/dqn400-run1")
    with pytest.raises(UserError, match=r"near it: Breakout/dqn400-run1.*rrl teacher list"):
        catalogue.locate("Breakout/dqn400-run2")


@pytest.mark.parametrize("part", ["", "..", ".hidden", "a/b", "a\\b", "a b", "x" * 101, "a\n"])
def test_path_tricks_are_no_names(part: str) -> None:
    with pytest.raises(UserError, match="is not a valid name"):
        catalogue.check_name(part)
