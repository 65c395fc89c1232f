"""A run's trackers, with TensorBoard's, whose library is always there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from services.shared.errors import UserError
from services.shared.run_config import write_config
from services.tracking import run_tracking
from services.tracking.run_tracking import RunTracking, check_trackers
from services.tracking.tracker import TrackedRun, Tracker
from tests.support.event_files import read_events
from tests.support.patience import PATIENCE_SECONDS


def text(run: Path, tag: str) -> str:
    (event,) = read_events(run).Tensors(tag)
    return str(event.tensor_proto.string_val[0].decode())


def test_configuration_and_lineage_come_before_the_first_point(tmp_path: Path) -> None:
    teacher = {"checkpoint": "https://me:secret@host/policy.onnx?token=secret"}
    settings = {"q_learning": {"n_step": 3}}
    write_config(tmp_path, {"method": "qdagger", "settings": settings, "teacher": teacher})
    (tmp_path / "provenance.json").write_text('{"parents": []}')
    with contextlib.closing(RunTracking(["tensorboard"], tmp_path)) as tracking:
        tracking.scalars(100, {"loss/td": 0.5})
    assert '|method|"qdagger"|' in text(tmp_path, "configuration")
    assert "|settings.q_learning.n_step|3|" in text(tmp_path, "configuration")
    assert '|teacher.checkpoint|"https://host/policy.onnx"|' in text(tmp_path, "configuration")
    assert '{"parents": []}' in text(tmp_path, "provenance.json")
    assert [(e.step, e.value) for e in read_events(tmp_path).Scalars("loss/td")] == [(100, 0.5)]


def test_files_that_are_missing_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Outcome")
    with contextlib.closing(RunTracking(["tensorboard"], tmp_path)) as tracking:
        tracking.files([tmp_path / "README.md", tmp_path / "student.gif"], 7)
    assert read_events(tmp_path).Tags()["tensors"] == ["README.md"]
    assert text(tmp_path, "README.md") == "# Outcome"


def test_a_session_that_has_nothing_to_show_leaves_the_run_alone(tmp_path: Path) -> None:
    tracking = RunTracking(["tensorboard"], tmp_path)
    tracking.close()
    tracking.close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named_before_the_run_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--track mlflow .*pip install -r locks/tracking.lock"):
        RunTracking(["tensorboard", "mlflow"], tmp_path)
    check_trackers(["tensorboard"])


def test_a_run_has_one_identity_in_all_its_sessions(tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    identity = TrackedRun(folder=first).identity
    assert TrackedRun(folder=first, resumed_step=5).identity == identity
    assert TrackedRun(folder=first).name == f"first-{identity[:6]}"
    assert TrackedRun(folder=other).identity != identity


class Unreachable:
    """A server that does not answer: each call waits, and fails in the end."""

    def __init__(self, run: TrackedRun) -> None:
        self.asked = run

    def configuration(self, settings: Mapping[str, object]) -> None: ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        RELEASED.wait()
        raise ConnectionError(f"no answer about {self.asked.folder}")

    def file(self, path: Path, step: int) -> None: ...

    def close(self) -> None: ...


RELEASED = threading.Event()


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def make(run: TrackedRun) -> Tracker:
        return Unreachable(run)

    monkeypatch.setitem(run_tracking._TRACKERS, "wandb", make)  # type: ignore[arg-type]
    monkeypatch.setattr(run_tracking, "check_trackers", lambda names: None)
    RELEASED.clear()
    before = set(threading.enumerate())
    yield
    RELEASED.set()
    # What they log on their way out belongs to this test.
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_SECONDS)


@pytest.mark.usefixtures("unreachable")
def test_a_tracker_that_hangs_delays_neither_the_run_nor_the_other_trackers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = RunTracking(["wandb", "tensorboard"], tmp_path)
    # More than wait for it: what is too much is dropped.
    for step in range(1, 1203):
        tracking.scalars(step, {"loss/td": 1.0})
    tracking.close(timeout_seconds=1.0)
    assert caplog.text.count("wandb is too slow: points are lost from step") == 1
    assert "wandb did not accept all metrics" in caplog.text
    assert read_events(tmp_path).Scalars("loss/td")[0].step == 1


@pytest.mark.usefixtures("unreachable")
def test_a_tracker_that_fails_is_named_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    RELEASED.set()
    with contextlib.closing(RunTracking(["wandb", "tensorboard"], tmp_path)) as tracking:
        for step in (1, 2, 3):
            tracking.scalars(step, {"loss/td": 1.0})
    assert caplog.text.count(f"no metrics written to wandb: no answer about {tmp_path}") == 1
    assert [event.step for event in read_events(tmp_path).Scalars("loss/td")] == [1, 2, 3]


def test_what_a_tracker_cannot_send_at_its_end_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FailsAtItsEnd:
        def __init__(self, run: TrackedRun) -> None:
            del run

        def scalars(self, step: int, values: Mapping[str, float]) -> None:
            pass

        def close(self) -> None:
            raise OSError("the server is gone")

    monkeypatch.setitem(run_tracking._TRACKERS, "tensorboard", FailsAtItsEnd)
    with contextlib.closing(RunTracking(["tensorboard"], tmp_path)) as tracking:
        tracking.scalars(1, {"loss/td": 1.0})
    assert caplog.text.count("no metrics written to tensorboard: the server is gone") == 1
