from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rrl_agents.training.update_step import UpdateMetrics
from rrl_agents.types import Progress, Stage
from services.learner.metrics_log import MetricsLog


def update(loss: float) -> UpdateMetrics:
    value = np.float32(loss)
    return UpdateMetrics(
        loss=value,
        term_losses={"td": value},
        mean_best_value=value,
        priorities=np.full(1, value),
    )


def progress(updates: int) -> Progress:
    return Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=updates)


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow beyond a few bytes: to whoever writes, a full disk.

    Only for as long as nobody reports: the test run's own output is a file, too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def add(log: MetricsLog, updates: int, loss: float) -> None:
    log.add(progress(updates), update(loss), answered=1.0, learning_rate=0.1)


def event_files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.stat().st_size > 8]


def test_losses_are_averaged_over_a_stretch(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, period_updates=2, resumed_at=None)
    add(log, 1, 1.0)
    assert log.losses == {}
    add(log, 2, 3.0)
    assert log.losses == {"td": 2.0}
    log.close()


def test_a_full_disk_costs_points_of_the_curve_and_no_more(tmp_path: Path) -> None:
    with full_disk():
        log = MetricsLog(tmp_path, period_updates=1, resumed_at=None)
        add(log, 1, 1.0)
    assert log.losses == {"td": 1.0}
    assert event_files(tmp_path) == []
    # Somebody has made room.
    add(log, 2, 4.0)
    log.close()
    (file,) = event_files(tmp_path)
    assert b"loss/td" in file.read_bytes()


def test_a_disk_that_fills_up_under_an_open_file_ends_nothing(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, period_updates=1, resumed_at=None)
    with full_disk():
        # Enough to overflow any buffer in between.
        for updates in range(1, 400):
            add(log, updates, float(updates))
        log.close()
    assert log.losses == {"td": 399.0}
