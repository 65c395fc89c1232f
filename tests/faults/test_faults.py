"""Faults come as the seed says, everybody in turn; damage is damage; a clock that fell is seen."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from rrl_agents.types import Progress, Stage
from services.learner.checkpoint_records import RunCheckpoint, RunRecord
from tests.faults.faults import Fault, Kind, deck, draw_faults
from tests.faults.injection import damage
from tests.faults.system import ROLES
from tests.faults.watch import below


def test_the_same_seed_draws_the_same_faults_and_another_seed_others() -> None:
    assert list(draw_faults(50, 3)) == list(draw_faults(50, 3))
    assert list(draw_faults(50, 3)) != list(draw_faults(50, 4))


def test_each_deal_of_the_deck_holds_every_kind_for_everybody() -> None:
    cards = sorted((kind.name, roles) for kind, roles in deck())
    faults = draw_faults(2 * len(cards), 0)
    for _ in range(2):
        dealt = itertools.islice(faults, len(cards))
        assert sorted((fault.kind.name, fault.roles) for fault in dealt) == cards
    for kind in (Kind.KILL, Kind.HANG, Kind.REFUSE, Kind.SILENCE):
        assert {(kind.name, (role,)) for role in ROLES} <= set(cards)


def test_only_the_wanted_kinds_are_drawn() -> None:
    assert {fault.kind for fault in draw_faults(40, 0, {Kind.HANG})} == {Kind.HANG}


def test_a_fault_names_its_roles() -> None:
    assert Fault(kind=Kind.KILL, roles=ROLES, seconds=0.0).whom == "all"
    assert Fault(kind=Kind.KILL, roles=ROLES[:2], seconds=0.0).whom == "teacher+replay"
    assert Fault(kind=Kind.DISK_FULL, roles=(), seconds=0.0).whom == ""


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_damage_turns_bytes_over_and_keeps_the_size(tmp_path: Path, size: int) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(size))
    damage(file)
    content = file.read_bytes()
    assert len(content) == size
    assert content.count(0xFF) == min(size, 64)


def test_a_clock_that_fell_behind_its_checkpoint_is_named() -> None:
    saved = Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=10, actor_steps=40)
    checkpoint = RunCheckpoint(
        path=Path("00000002"), number=2, record=RunRecord(progress=saved, seconds=1.0)
    )
    assert below(saved, checkpoint) == []
    later = Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=9, actor_steps=41)
    assert below(later, checkpoint) == ["online_updates is 9, checkpoint 2 had 10"]
