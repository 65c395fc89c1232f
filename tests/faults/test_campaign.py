"""The real system under faults: it recovers by itself, and loses only what no checkpoint held.

Longer campaigns: `python -m tests.faults --faults 200 --seed 1 --run DIR`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.disk import small_disk
from tests.faults.faults import Kind
from tests.faults.report import line, summary, table
from tests.faults.running import Plan, Results, run_plan


def suffer(plan: Plan) -> Results:
    results = run_plan(plan, lambda outcome: print(line(outcome)))
    print(table(summary(results.outcomes, results.campaigns)))
    assert results.problems == []
    for outcome in results.outcomes:
        assert outcome.problems == (), line(outcome)
    assert len(results.outcomes) == plan.faults
    return results


@pytest.mark.slow
def test_killed_and_stopped_roles_come_back_by_themselves(tmp_path: Path) -> None:
    suffer(Plan(folder=tmp_path, faults=4, seed=2, kinds=frozenset({Kind.KILL, Kind.HANG})))


@pytest.mark.slow
def test_damaged_and_half_written_checkpoints_are_never_gone_on_from(tmp_path: Path) -> None:
    kinds = {Kind.CORRUPT_STATE, Kind.CORRUPT_TABLES, Kind.TRUNCATE_RECORD, Kind.KILL_IN_CHECKPOINT}
    results = suffer(Plan(folder=tmp_path, faults=5, seed=0, kinds=frozenset(kinds)))
    assert sum(outcome.was_done for outcome in results.outcomes) >= 3


@pytest.mark.slow
def test_a_disk_that_is_full_or_slow_is_waited_for(tmp_path: Path) -> None:
    with small_disk(tmp_path / "probe", mebibytes=8) as disk:
        if disk is None:
            pytest.skip("missing: root with a loop device (mount -o loop), mkfs.ext4 and fsfreeze")
    kinds = {Kind.DISK_FULL, Kind.DISK_SLOW}
    suffer(Plan(folder=tmp_path, faults=5, seed=1, kinds=frozenset(kinds)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_fault_upon_every_role_is_survived(tmp_path: Path) -> None:
    suffer(Plan(folder=tmp_path, faults=60, seed=0, faults_per_run=30))
