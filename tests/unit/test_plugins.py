"""Code of other packages by name: what is found, and what is not imported."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rrl_agents import plugins
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.plugins import Registry
from rrl_agents.reincarnation.registry import METHODS, make_recipe

GROUP = "rrl.tests"


@dataclasses.dataclass(frozen=True)
class Part:
    """An entry."""

    number: int


MODULE = """
from tests.unit.test_plugins import Part
PART = Part(7)
OTHER = 3
class Inner:
    PART = Part(8)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that can be imported, and the entry points that its package declares."""
    name = f"plugged_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE.replace("tests.unit.test_plugins", __name__))
    information = tmp_path / f"{name}-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        f"[{GROUP}]\nmine = {name}:PART\nbuilt = {name}:PART\nwrong = {name}:OTHER\n"
        f"gone = {name}:NOTHING\nlost = no_such_package:PART\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins.declared.cache_clear()
    yield name
    plugins.declared.cache_clear()
    sys.modules.pop(name, None)


def registry() -> Registry[Part]:
    return Registry(GROUP, Part, {"built": Part(1)})


def test_a_name_is_built_in_or_declared_by_a_package(package: str) -> None:
    parts = registry()
    assert list(parts) == ["built", "gone", "lost", "mine", "wrong"] and len(parts) == 5
    assert "mine" in parts and "other" not in parts
    assert package not in sys.modules
    assert parts["built"] == Part(1)
    assert package not in sys.modules
    assert parts["mine"] == Part(7)
    assert parts["mine"] is parts["mine"]
    assert dict(parts.imported) == {"built": Part(1), "mine": Part(7)}
    with pytest.raises(KeyError):
        parts["other"]


def test_a_reference_is_imported_once_its_user_has_named_it(package: str) -> None:
    parts, name = registry(), f"{package}:PART"
    assert name in parts
    with pytest.raises(ValueError, match=f"only imported when you name it.*RRL_PLUGINS={name}"):
        parts[name]
    assert package not in sys.modules
    plugins.allow(name, f"{package}:Inner.PART", f"{package}:NOTHING")
    assert (parts[name], parts[f"{package}:Inner.PART"]) == (Part(7), Part(8))
    # It is not a name of the list.
    assert name not in [*parts]
    with pytest.raises(ValueError, match=f"{package} has no 'NOTHING'"):
        parts[f"{package}:NOTHING"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", "wrong of rrl.tests is a int, not a .*Part"),
        ("gone", "has no 'NOTHING'"),
        ("lost", "no_such_package:PART: there is no module 'no_such_package'"),
    ],
)
def test_a_declaration_that_does_not_hold_is_named(package: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry()[name]


@pytest.mark.parametrize("name", ["", "a", "a:", ":b", "a:b:c", "a b:c", "a/b:c", "a:1b", "1:b"])
def test_what_is_no_reference_names_nothing(name: str) -> None:
    assert not plugins.is_reference(name) and name not in registry()
    with pytest.raises(ValueError, match="not a reference"):
        plugins.load(name)


def test_a_card_or_a_file_imports_nothing() -> None:
    with pytest.raises(ValueError, match="only imported when you name it"):
        NetworkConfig(name="untrusted_network:TORSO")


def test_a_config_of_no_method_is_refused() -> None:
    with pytest.raises(TypeError, match="Part is the config of no method"):
        make_recipe(Part(1))  # type: ignore[arg-type]
    assert all(make_recipe(method.config_class()).name == name for name, method in METHODS.items())
