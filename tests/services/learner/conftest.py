"""A place for one learner, with its replay server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from tests.support.learner_runs import (
    ReplayShard,
    Workplace,
    config_of,
    fill,
    joined,
)


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    run = tmp_path / "run"
    run.mkdir()
    replay = ReplayShard(run / "replay")
    config = config_of(run, replay.shard)
    place = Workplace(run=run, replay=replay, learner=joined(config), config=config)
    yield place
    place.learner.close()
    place.replay.stop()


@pytest.fixture
def filled(workplace: Workplace) -> Workplace:
    """A place whose own learner is put away, with both tables filled."""
    workplace.learner.close()
    fill(workplace.replay.address, TEACHER_TABLE)
    fill(workplace.replay.address, STUDENT_TABLE)
    return workplace
