from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rrl_agents.training.update_step import UpdateMetrics
from rrl_agents.types import Progress, Stage
from services.learner.metrics_log import MetricsLog
from services.tracking.run_tracking import RunTracking
from tests.support.disk import files_of_at_most
from tests.support.patience import wait_until


def update(*losses: float) -> UpdateMetrics:
    value = np.array(losses, np.float32)
    return UpdateMetrics(
        loss=value,
        term_losses={"td": value},
        mean_best_value=value,
        priorities=value[:, None],
    )


def add(log: MetricsLog, updates: int, loss: float) -> None:
    progress = Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=updates)
    log.add(progress, update(loss), answered=[1.0], learning_rate=0.1)


def event_files(folder: Path) -> list[Path]:
    return [file for file in (folder / "metrics").iterdir() if file.stat().st_size > 8]


def test_losses_are_averaged_over_a_stretch(tmp_path: Path) -> None:
    log = MetricsLog(RunTracking((), tmp_path), period_updates=2)
    add(log, 1, 1.0)
    assert log.losses == {}
    add(log, 2, 3.0)
    assert log.losses == {"td": 2.0}
    log.close()


def test_a_stretch_ends_with_a_block_whose_updates_all_count_alike(tmp_path: Path) -> None:
    log = MetricsLog(RunTracking((), tmp_path), period_updates=3)
    add(log, 1, 1.0)
    assert log.losses == {}
    progress = Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=4)
    log.add(progress, update(2.0, 4.0, 9.0), answered=[0.0, 0.0, 1.0], learning_rate=0.1)
    # (1 + 2 + 4 + 9) / 4 and (1 + 0 + 0 + 1) / 4.
    assert log.losses == {"td": 4.0}
    assert log.answered_share == 0.5
    log.close()


def test_a_full_disk_costs_points_of_the_curve_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with files_of_at_most(8):
        log = MetricsLog(RunTracking(("tensorboard",), tmp_path), period_updates=1)
        add(log, 1, 1.0)
        wait_until(lambda: "no metrics written" in caplog.text, "the failure is logged")
    assert log.losses == {"td": 1.0}
    assert event_files(tmp_path) == []
    # Somebody has made room.
    add(log, 2, 4.0)
    log.close()
    (file,) = event_files(tmp_path)
    assert b"loss/td" in file.read_bytes()


def test_a_disk_that_fills_up_under_an_open_file_ends_nothing(tmp_path: Path) -> None:
    log = MetricsLog(RunTracking(("tensorboard",), tmp_path), period_updates=1)
    with files_of_at_most(8):
        # Enough to overflow any buffer in between.
        for updates in range(1, 400):
            add(log, updates, float(updates))
        log.close()
    assert log.losses == {"td": 399.0}
