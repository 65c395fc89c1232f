"""Settings of the importer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.ranges import check_known, check_ranges
from rrl_client import ClientSecurity
from services.recorded_data.dataset import RecordedData
from services.replay.item_layout import ItemLayout
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE

LABELS_FOLDER = "teacher_labels"
"""Folder in a run's folder with the labels of its imported data."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImporterConfig:
    """The data, the table to fill, and the importer's peers.

    Attributes:
        data: The recorded data.
        transitions: Number of transitions for the table: the newest ones of the data.
        layout: Shapes of the items.
        run: Folder of the run.
        labels: Folder with labels of all the data, from `rrl teacher label`; None keeps labels of
            the imported data in the run's folder.
        teacher: The teacher that must give the scores.
        replay_address: "host:port" of the replay server.
        teacher_address: "host:port" of the teacher service.
        teacher_peers: TLS and credentials for it; None for plaintext without a token.
        table: The table to fill, `TEACHER_TABLE` or `STUDENT_TABLE`. The student's table accepts at
            most `min_student_size` items before the learner samples them.
        teacher_timeout_seconds: Deadline of a query, after which it is retried. Several large
            queries are in flight at once, so it is longer than an actor's.
    """

    data: RecordedData
    transitions: int
    layout: ItemLayout
    run: Path
    labels: Path | None
    teacher: TeacherCard
    replay_address: str
    teacher_address: str
    teacher_peers: ClientSecurity | None = None
    table: str = TEACHER_TABLE
    teacher_timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_ranges(self, "transitions", least=1)
        check_known(self, "table", (TEACHER_TABLE, STUDENT_TABLE))
        check_ranges(self, "teacher_timeout_seconds", above=0)
