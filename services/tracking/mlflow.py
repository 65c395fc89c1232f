"""Sends runs to MLflow: to MLFLOW_TRACKING_URI if set, else to MLflow's local store."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus

from services.tracking.tracker import PROJECT, TrackedRun

_IDENTITY_TAG = "rrl_run"
_MOST_PARAMS = 100
"""Most parameters that MLflow accepts at once."""


class MLflow:
    """One run of MLflow; a `Tracker`."""

    def __init__(self, run: TrackedRun) -> None:
        """Opens the run, or creates it if MLflow does not have it."""
        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if known is None else known.experiment_id
        found = self._client.search_runs(
            [experiment], f"tags.{_IDENTITY_TAG} = '{run.identity}'", max_results=1
        )
        opened = (
            found[0]
            if found
            else self._client.create_run(
                experiment, run_name=run.name, tags={_IDENTITY_TAG: run.identity}
            )
        )
        self._run = opened.info.run_id
        self._params = {*opened.data.params}
        self._client.update_run(self._run, status=RunStatus.to_string(RunStatus.RUNNING))
        self._is_open = True

    def configuration(self, settings: Mapping[str, object]) -> None:
        """Adds the settings that the run lacks; MLflow refuses to change existing ones."""
        missing = {name: value for name, value in settings.items() if name not in self._params}
        params = [Param(name, str(value)) for name, value in missing.items()]
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + _MOST_PARAMS])
        self._params |= missing.keys()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one point per tag."""
        now = int(1000 * time.time())
        self._client.log_batch(
            self._run, [Metric(tag, float(value), now, step) for tag, value in values.items()]
        )

    def file(self, path: Path, step: int) -> None:
        """Keeps a file as an artifact."""
        self._client.log_artifact(self._run, str(path))

    def close(self) -> None:
        """Marks the run as finished, until another session resumes it."""
        if self._is_open:
            self._is_open = False
            self._client.set_terminated(self._run)
