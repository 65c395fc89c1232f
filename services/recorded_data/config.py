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
"""In a run's folder: the labels of what it imports."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImporterConfig:
    """What goes into which table, and the importer's peers.

    Attributes:
        data: Where the transitions come from.
        transitions: How many go into the table: the newest ones of the data.
        layout: Shapes of the items.
        run: Folder of the run.
        labels: Folder of labels of the whole data, as `rrl teacher label` makes them; None keeps
            those of what is imported in the run's folder.
        teacher: Whose scores are wanted.
        replay_address: "host:port" of the replay server.
        teacher_address: "host:port" of the teacher service.
        teacher_peers: What to trust and show there; None for plaintext without a token.
        table: The table to fill, `TEACHER_TABLE` or `STUDENT_TABLE`. Into the student's, the server
            lets no more than its `min_student_size` items in before they are learned from.
        teacher_timeout_seconds: Deadline of a query, after which it is sent again. Several large
            ones are under way at once, so it is longer than an actor's.
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
        """Refuse numbers that no importer can work with."""
        check_ranges(self, "transitions", least=1)
        check_known(self, "table", (TEACHER_TABLE, STUDENT_TABLE))
        check_ranges(self, "teacher_timeout_seconds", above=0)
