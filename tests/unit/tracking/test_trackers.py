"""Each tracker with its own library, and local: what was sent is read back by that library.

The libraries are in .venv-tracking. They warn of what they import, which is theirs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from services.shared.errors import UserError
from services.shared.run_config import write_config
from services.tracking.run_tracking import RunTracking, _wandb_would_ask, check_trackers
from services.tracking.tracker import TrackedRun, TrackerName

pytestmark = [pytest.mark.tracking, pytest.mark.filterwarnings("default")]

SETTINGS = {"method": "qdagger", "settings": {"q_learning": {"n_step": 3}}, "games": ["pong"]}


@pytest.fixture(autouse=True)
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "offline")
    # Trackio reads it when it is imported: all tests of a process share one folder.
    os.environ.setdefault("TRACKIO_DIR", str(tmp_path / "trackio"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with a report."""
    run = tmp_path / "mine"
    (run / "report").mkdir(parents=True)
    write_config(run, SETTINGS)
    (run / "provenance.json").write_text('{"parents": ["pong_dqn"]}')
    (run / "report" / "README.md").write_text("# Outcome")
    Image.new("L", (6, 4)).save(run / "report" / "learning_curve.png")
    frames = [Image.new("L", (6, 4), level) for level in (0, 255)]
    frames[0].save(run / "report" / "student.gif", save_all=True, append_images=frames[1:])
    return run


def track(name: TrackerName, run: Path) -> None:
    """Three sessions: a run that is stopped, its end after it went back to step 100, its report."""
    with contextlib.closing(RunTracking([name], run)) as tracking:
        tracking.scalars(100, {"loss/td": 0.5, "score/student_return": -21.0})
        tracking.scalars(200, {"loss/td": math.nan})
    with contextlib.closing(RunTracking([name], run, resumed_step=100)) as tracking:
        tracking.scalars(200, {"loss/td": 0.25})
    with contextlib.closing(RunTracking([name], run)) as tracking:
        tracking.scalars(200, {"final/student_return": 20.5})
        tracking.files(sorted((run / "report").iterdir()), 200)


def test_mlflow_has_one_run_with_its_settings_curves_and_files(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import mlflow

    track("mlflow", run)
    assert "no metrics" not in caplog.text
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("rrl")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == TrackedRun(folder=run).name
    assert found.info.status == "FINISHED"
    assert found.data.params == {
        "method": "qdagger",
        "settings.q_learning.n_step": "3",
        "games": "['pong']",
    }
    assert found.data.metrics["final/student_return"] == 20.5
    curve = client.get_metric_history(found.info.run_id, "loss/td")
    assert {(point.step, point.value) for point in curve if not math.isnan(point.value)} == {
        (100, 0.5),
        (200, 0.25),
    }
    kept = {artifact.path for artifact in client.list_artifacts(found.info.run_id)}
    assert kept == {"provenance.json", "README.md", "learning_curve.png", "student.gif"}


def test_trackio_has_one_run_with_its_settings_curves_and_files(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    track("trackio", run)
    assert "no metrics" not in caplog.text
    (found,) = trackio.Api().runs("rrl")
    assert found.name == TrackedRun(folder=run).name
    assert found.config["settings.q_learning.n_step"] == 3
    points = SQLiteStorage.get_logs("rrl", found.name, run_id=found.id)
    curve = {(point["step"], point["loss/td"]) for point in points if "loss/td" in point}
    assert {(100, 0.5), (200, 0.25)} <= curve
    shown = {name for point in points for name in point}
    assert {"readme", "learning_curve", "student", "provenance", "final/student_return"} <= shown
    videos = list(Path(os.environ["TRACKIO_DIR"]).rglob("*.gif"))
    assert [video.read_bytes() for video in videos] == [
        (run / "report" / "student.gif").read_bytes()
    ]


def test_wandb_keeps_settings_curves_and_files_in_a_folder_to_sync(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    track("wandb", run)
    assert "no metrics" not in caplog.text
    identity = TrackedRun(folder=run).identity
    sessions = sorted(Path("wandb").glob(f"offline-run-*-{identity}"))
    assert len(sessions) == 3
    records = [record for session in sessions for record in read_wandb(session)]
    assert {"learner_updates": 200.0, "loss/td": 0.25} in records
    assert any(record.get("settings.q_learning.n_step") == 3 for record in records)
    files = {path.name for path in (sessions[-1] / "files").iterdir()}
    assert {"provenance.json", "README.md", "learning_curve.png", "student.gif"} <= files


def test_wandb_without_a_login_is_refused_before_it_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    _wandb_would_ask.cache_clear()
    with pytest.raises(UserError, match="run `wandb login`, or set WANDB_MODE=offline"):
        check_trackers(["wandb"])
    _wandb_would_ask.cache_clear()
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    check_trackers(["wandb"])
    _wandb_would_ask.cache_clear()


def read_wandb(session: Path) -> list[dict[str, object]]:
    """Points and settings of an offline session, read by the library's own reader."""
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    (file,) = session.glob("run-*.wandb")
    store, found = DataStore(), []
    store.open_for_scan(str(file))
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record.FromString(data)
        for items in (record.history.item, record.config.update):
            found.append(
                {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in items
                    if not (item.key or item.nested_key[0]).startswith("_")
                }
            )
    store.close()
    return found


def test_a_run_goes_to_all_trackers_at_once(tmp_path: Path) -> None:
    run = tmp_path / "cart_pole"
    command = [
        *("-m", "services.cli.main", "train", "tabula_rasa", "--one-process"),
        *("--environment.name", "catch", "--environment.game", "catch"),
        *("--network.name", "mlp", "--network.features", "16"),
        *("--teacher.checkpoint", "None", "--teacher.mean-return", "1"),
        *("--online-steps", "1400", "--method.q-learning.min-replay-size", "200"),
        *("--evaluation.final-episodes", "4", "--evaluation.episodes", "4"),
        *("--run", str(run), "--track", "tensorboard", "trackio", "wandb", "mlflow"),
    ]
    subprocess.run([sys.executable, *command], check=True)
    with contextlib.closing(sqlite3.connect("mlflow.db")) as store:
        (metrics,) = store.execute("select count(distinct key) from latest_metrics").fetchone()
        tags = store.execute("select value from tags where key = 'rrl_run'").fetchall()
    assert metrics > 8
    assert tags == [(TrackedRun(folder=run).identity,)]
    assert list((run / "metrics").glob("events.out.tfevents.*"))
    assert list(Path("wandb").glob("offline-run-*"))
