from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.terms import DistillationConfig
from rrl_agents.types import Progress, Stage
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.provenance import PROVENANCE_FILE, read_provenance
from services.launcher.resolution import resolve
from services.launcher.run_directory import CONFIG_FILE, is_finished, open_run
from services.learner.checkpointing import RunRecord, write_commit
from services.shared.errors import UserError


@pytest.fixture
def config(catch_teacher: Path) -> ExperimentConfig:
    return ExperimentConfig(
        method=QDaggerConfig(),
        environment=EnvironmentConfig(name="catch"),
        network=NetworkConfig(name="mlp", features=(32,)),
        teacher=TeacherChoice(checkpoint=str(catch_teacher)),
    )


@pytest.fixture
def experiment(config: ExperimentConfig) -> Experiment:
    return resolve(config)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_is_made_with_its_config_and_found_again(
    experiment: Experiment, tmp_path: Path
) -> None:
    run = tmp_path / "some" / "where"
    assert open_run(run, experiment) is False
    assert contents(run).keys() == {CONFIG_FILE, PROVENANCE_FILE, ".provenance.lock"}
    assert json.loads((run / CONFIG_FILE).read_text()) == json.loads(experiment.to_json())
    before = contents(run)
    assert open_run(run, experiment) is True
    after = contents(run)
    assert after.keys() == before.keys()
    assert after[CONFIG_FILE] == before[CONFIG_FILE]


def test_each_session_is_noted_until_the_run_is_finished(
    experiment: Experiment, tmp_path: Path
) -> None:
    def sessions() -> int:
        noted = read_provenance(tmp_path)
        assert noted is not None
        return len(noted.sessions)

    open_run(tmp_path, experiment)
    open_run(tmp_path, experiment)
    assert sessions() == 2
    stopped, finished = (
        Progress(random_return=-0.6),
        Progress(random_return=-0.6, stage=Stage.FINISHED),
    )
    for number, (progress, noted) in enumerate(((stopped, 3), (finished, 3)), start=1):
        record = RunRecord(progress=progress, seconds=1.0)
        write_commit(tmp_path, {"weights": np.zeros(1)}, record, number, keep=())
        assert is_finished(tmp_path) is (progress is finished)
        open_run(tmp_path, experiment)
        assert sessions() == noted


def test_an_empty_folder_is_taken(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert open_run(tmp_path / "run", experiment) is False


def test_a_folder_with_fresh_volumes_in_it_is_taken(experiment: Experiment, tmp_path: Path) -> None:
    for folder in ("lost+found", "checkpoints/lost+found"):
        (tmp_path / folder).mkdir(parents=True)
    assert not open_run(tmp_path, experiment)


def test_checkpoints_without_their_run_are_left_alone(
    experiment: Experiment, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints" / "00000001").mkdir(parents=True)
    with pytest.raises(UserError, match="is not a run: choose another --run"):
        open_run(tmp_path, experiment)


def test_a_folder_of_something_else_is_left_alone(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not a run: choose another --run"):
        open_run(tmp_path, experiment)
    with pytest.raises(UserError, match="is not a run: choose another --run"):
        open_run(tmp_path / "thesis.txt", experiment)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_changed_settings_are_refused_by_name_and_nothing_is_written(
    experiment: Experiment, config: ExperimentConfig, tmp_path: Path
) -> None:
    open_run(tmp_path, experiment)
    before = contents(tmp_path)
    changes = {
        "seed": dataclasses.replace(config, seed=1),
        "settings.distillation.temperature": dataclasses.replace(
            config, method=QDaggerConfig(distillation=DistillationConfig(temperature=0.2))
        ),
        "network.features": dataclasses.replace(
            config, network=NetworkConfig(name="mlp", features=(64,))
        ),
        "online_steps": dataclasses.replace(config, online_steps=1_000_000),
        "teacher.mean_return": dataclasses.replace(
            config, teacher=dataclasses.replace(config.teacher, mean_return=0.5)
        ),
    }
    for name, changed in changes.items():
        with pytest.raises(UserError, match="belongs to another experiment") as refused:
            open_run(tmp_path, resolve(changed))
        assert name in str(refused.value)
        assert "choose another --run" in str(refused.value)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used .*choose another --run"):
        open_run(tmp_path / "file" / "run", experiment)


def test_a_config_that_is_no_json_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('{"method": "qdag')
    with pytest.raises(UserError, match="not readable as JSON"):
        open_run(tmp_path, experiment)
