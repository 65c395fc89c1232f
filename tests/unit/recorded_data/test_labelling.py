"""The labelling pass: the right stacks, each asked for once, whatever ends it."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rrl_agents.checkpoints.recorded_rows import RecordedRows, RowColumns
from services.recorded_data import labelling
from services.recorded_data.labelling import LabelledChunk, labelled_chunks
from services.recorded_data.labels import LabelManifest, Labels
from services.shared.errors import UserError
from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).parents[3]
STACK = 3


def memory_rows(rows: int, gap: int = 7, rows_per_chunk: int = 50) -> RecordedRows:
    """Rows whose frame is their number, as one byte pair; every `gap`-th row is not a state."""
    number = np.arange(rows)
    frames = np.stack([number % 256, number // 256], axis=-1).astype(np.uint8)[:, None]

    def read_frames(first_row: int, _: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(first_row, rows, rows_per_chunk):
            yield frames[start : start + rows_per_chunk]

    return RecordedRows(
        columns=RowColumns(
            action=np.zeros(rows, np.int32),
            reward=np.zeros(rows, np.float32),
            terminal=np.zeros(rows, bool),
            is_state=(number >= STACK - 1) & (number % gap != 0),
            cut_after=number == rows - 1,
        ),
        frame_shape=(1, 2),
        stack_size=STACK,
        fingerprint="ab" * 32,
        read_frames=read_frames,
    )


class RecordingTeacher:
    """Its scores are the numbers of the rows in the stack; it notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._threads = concurrent.futures.ThreadPoolExecutor(3)

    def ask(self, states: NDArray[np.uint8]) -> concurrent.futures.Future[NDArray[np.float32]]:
        numbers = states[:, 0, 0].astype(np.float32) + 256 * states[:, 0, 1].astype(np.float32)
        self.asked += numbers[:, -1].astype(int).tolist()
        return self._threads.submit(lambda: numbers)


def manifest(rows: RecordedRows) -> LabelManifest:
    return LabelManifest(
        data_fingerprint=rows.fingerprint,
        rows=rows.rows,
        num_actions=STACK,
        teacher="t",
        teacher_version="cd",
    )


def expected(rows: RecordedRows) -> NDArray[np.float32]:
    """Row r, if it is a state, is shown with the rows r - 2, r - 1 and r: oldest first."""
    number = np.arange(rows.rows)[:, None] + np.asarray([-2, -1, 0])
    return np.where(rows.columns.is_state[:, None], number, 0).astype(np.float32)


def joined(chunks: list[LabelledChunk]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((0, STACK), np.float32), *(chunk.scores for chunk in chunks)])


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 400),
    gap=st.integers(1, 9),
    rows_per_chunk=st.integers(1, 90),
    stops=st.lists(st.integers(0, 12), max_size=3),
    first_rows=st.lists(st.integers(0, 400), min_size=4, max_size=4),
)
def test_stopping_and_beginning_anywhere_changes_nothing(
    total: int,
    gap: int,
    rows_per_chunk: int,
    stops: list[int],
    first_rows: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rows, teacher = memory_rows(total, gap, rows_per_chunk), RecordingTeacher()
    place = tmp_path_factory.mktemp("labels")
    done = 0
    for chunks_wanted, first_row in zip([*stops, total + 1], first_rows, strict=False):
        first_row = min(first_row, total)
        teacher.asked.clear()
        with Labels(place, manifest(rows)) as labels:
            assert labels.rows_done == done
            pass_ = labelled_chunks(rows, labels, teacher.ask, first_row=first_row)
            chunks = [chunk for _, chunk in zip(range(chunks_wanted), pass_, strict=False)]
            done = labels.rows_done
        found = joined(chunks)
        assert np.array_equal(found, expected(rows)[first_row : first_row + len(found)])
        assert all(chunk.rows.first_row + len(chunk.rows) <= done for chunk in chunks)
    # The last pass was not stopped.
    assert first_row + len(found) == total
    with Labels(place, manifest(rows)) as labels:
        assert np.array_equal(labels.read(0, done), expected(rows)[:done])


def test_every_state_is_asked_for_once_with_its_own_stack_though_the_pass_is_stopped(
    tmp_path: Path,
) -> None:
    rows, teacher = memory_rows(300), RecordingTeacher()
    with Labels(tmp_path, manifest(rows)) as labels:
        for chunk in labelled_chunks(rows, labels, teacher.ask):
            if chunk.rows.first_row == 100:
                break
        done = labels.rows_done
    assert done >= 150
    for asked in (np.flatnonzero(rows.columns.is_state[done:]) + done, np.zeros(0, int)):
        teacher.asked.clear()
        with Labels(tmp_path, manifest(rows)) as labels:
            chunks = list(labelled_chunks(rows, labels, teacher.ask))
            assert labels.rows_done == 300
        assert np.array_equal(joined(chunks), expected(rows))
        assert np.array_equal(
            np.concatenate([one.rows.columns.is_state for one in chunks]), rows.columns.is_state
        )
        assert [chunk.rows.first_row for chunk in chunks] == list(range(0, 300, 50))
        assert teacher.asked == asked.tolist()


def test_no_more_queries_are_under_way_than_allowed(tmp_path: Path) -> None:
    rows = memory_rows(4000, gap=10**6, rows_per_chunk=1024)
    under_way: list[int] = []
    waiting = 0

    class Pending:
        def __init__(self, states: NDArray[np.uint8]) -> None:
            self._rows = len(states)

        def result(self) -> NDArray[np.float32]:
            nonlocal waiting
            waiting -= 1
            return np.ones((self._rows, STACK), np.float32)

    def ask(states: NDArray[np.uint8]) -> Pending:
        nonlocal waiting
        waiting += 1
        under_way.append(waiting)
        assert len(states) <= labelling.BATCH_ROWS
        return Pending(states)

    with Labels(tmp_path, manifest(rows)) as labels:
        for _ in labelled_chunks(rows, labels, ask):
            pass
    # 3998 states; chunks of 1022, 1024, 1024 and 928 states are 8 queries each.
    assert len(under_way) == 32
    assert max(under_way) == labelling.QUERIES_AHEAD


@pytest.mark.parametrize(
    "answer",
    [np.zeros((3, STACK + 1)), np.zeros((2, STACK)), np.zeros(3), np.full((3, STACK), np.nan)],
)
def test_answers_that_do_not_fit_are_refused(answer: NDArray[np.float64], tmp_path: Path) -> None:
    rows = memory_rows(5, gap=10**6)

    def ask(_: NDArray[np.uint8]) -> concurrent.futures.Future[NDArray[np.float32]]:
        future: concurrent.futures.Future[NDArray[np.float32]] = concurrent.futures.Future()
        future.set_result(answer.astype(np.float32))
        return future

    with Labels(tmp_path, manifest(rows)) as labels:
        with pytest.raises(UserError, match="answered 3 states"):
            list(labelled_chunks(rows, labels, ask))
        assert labels.rows_done == 0


KILLED = """
import importlib.util, os, signal, sys
from pathlib import Path
from services.recorded_data import labels
spec = importlib.util.spec_from_file_location("these", sys.argv[1])
these = importlib.util.module_from_spec(spec)
spec.loader.exec_module(these)
labels.SECONDS_BETWEEN_SYNCS = 0
rows, teacher = these.memory_rows(5000), these.RecordingTeacher()
kept = labels.Labels(Path(sys.argv[2]), these.manifest(rows))
for chunk in these.labelled_chunks(rows, kept, teacher.ask):
    if chunk.rows.first_row == 2000:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_the_pass_resumes_from_what_is_on_disk(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, __file__, str(tmp_path)], cwd=ROOT, timeout=PATIENCE_SECONDS
    )
    assert killed.returncode == -signal.SIGKILL
    done = json.loads((tmp_path / "progress.json").read_text())["rows"]
    # Every chunk of 50 rows is synced when it is closed, which the one at row 2,000 was.
    assert done >= 2050
    rows, teacher = memory_rows(5000), RecordingTeacher()
    with Labels(tmp_path, manifest(rows)) as labels:
        assert labels.rows_done == done
        chunks = list(labelled_chunks(rows, labels, teacher.ask))
    assert np.array_equal(joined(chunks), expected(rows))
    assert min(teacher.asked) >= done
