"""Cards of students, from run folders written by the parts that write them in a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.checkpoints.teacher_card import PlayProtocol
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import NetworkConfig, initial_params, make_network
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.train_state import TrainState, initial_train_state
from rrl_agents.types import Progress, Stage
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.provenance import PROVENANCE_FILE
from services.launcher.resolution import resolve
from services.launcher.run_directory import CONFIG_FILE, open_run
from services.launcher.trained_student import default_name, read_student
from services.learner.checkpoint_records import RunRecord
from services.learner.checkpointing import write_checkpoint
from services.learner.evaluation_records import EvaluationRecord, append_record
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, locked

NETWORK = NetworkConfig(name="mlp", features=(8,))
FINISHED = Progress(
    random_return=-0.6,
    teacher_return=1.0,
    stage=Stage.FINISHED,
    teacher_steps=200,
    offline_updates=50,
    online_updates=25,
    actor_steps=300,
)
STOPPED = dataclasses.replace(FINISHED, stage=Stage.ONLINE, online_updates=10, actor_steps=240)


@pytest.fixture
def config(catch_teacher: Path) -> ExperimentConfig:
    return ExperimentConfig(
        method=QDaggerConfig(),
        environment=EnvironmentConfig(name="catch", balls=2),
        network=NETWORK,
        teacher=TeacherChoice(checkpoint=str(catch_teacher)),
    )


@pytest.fixture(scope="module")
def state() -> TrainState:
    network = make_network(NETWORK, 3)
    state = initial_train_state(
        initial_params(network, jax.random.key(5), (10, 5, 1)), OptimiserConfig()
    )
    halved = jax.tree.map(lambda leaf: leaf / 2, state.params)
    return state._replace(target_params=halved)


@pytest.fixture
def run(tmp_path: Path, config: ExperimentConfig) -> Path:
    open_run(tmp_path / "run", resolve(config))
    return tmp_path / "run"


@pytest.fixture
def checkpoint(run: Path, state: TrainState) -> Callable[[Progress], None]:
    def write(progress: Progress) -> None:
        write_checkpoint(run, state, RunRecord(progress=progress, seconds=12.5), number=1, keep=())

    return write


def evaluated(run: Path, **changes: Any) -> None:
    record = EvaluationRecord(
        player="student",
        weights_version=76,
        stage="final_evaluation",
        teacher_steps=200,
        offline_updates=50,
        online_updates=25,
        actor_steps=300,
        weaning_weight=0.0,
        episode_returns=(2.0, 0.0, 2.0, 0.0),
        episode_steps=(19, 19, 19, 19),
        epsilon=0.001,
        seconds_since_start=12.0,
        final=True,
    )
    append_record(run / EVALUATIONS_FILE, dataclasses.replace(record, **changes))


def test_a_finished_runs_student_is_told_whole(
    run: Path, checkpoint: Callable[[Progress], None], state: TrainState, catch_teacher: Path
) -> None:
    checkpoint(FINISHED)
    evaluated(run)
    student = read_student(run, "second")
    card = student.teacher.card
    params = jax.device_get(state.params)
    assert params_to_bytes(student.teacher.params) == params_to_bytes(params)
    assert card.parameters_sha256 == params_hash(params_to_bytes(params))
    assert (card.name, card.game, card.algorithm) == ("second", "catch", "qdagger")
    assert card.network == NETWORK
    assert (card.num_actions, card.observation_shape) == (3, (10, 5, 1))
    # Two balls of 10 rows: 20 steps but the last; Catch has one frame per step, none sticks, and
    # its rewards are learned from as they are.
    assert card.protocol == PlayProtocol(
        frames_per_step=1,
        stack_size=1,
        max_episode_steps=19,
        sticky_actions=0.0,
        reward_clipping=False,
    )
    assert card.score is not None
    # (2 + 0 + 2 + 0) / 4 = 1, each one away from it.
    assert (card.score.mean_return, card.score.std_return, card.score.episodes) == (1.0, 1.0, 4)
    assert card.score.interval is not None
    assert 0.0 <= card.score.interval[0] < 1.0 < card.score.interval[1] <= 2.0
    assert card.score.note == "played by these weights, in the run's final evaluation"
    # Two balls, each missed four times in five: 2 * (0.2 - 0.8) = -1.2.
    assert card.random_return == pytest.approx(-1.2)
    assert card.compute is not None
    assert card.compute.environment_frames == 300
    assert card.compute.teacher_frames == 200
    assert card.compute.gradient_updates == 75
    assert card.compute.hardware_seconds == 12.5
    assert " cores of " in card.compute.hardware
    assert "a run of qdagger, finished after 50 offline and 25 online updates" in card.made
    assert "n_step 3" in card.made
    assert card.code_version.startswith("rrl-agents 0.")
    (parent,) = card.parents
    assert parent.relations == ("teacher",)
    assert parent.card.to_json() == (catch_teacher / "card.json").read_text()
    assert student.checkpoint.training.agent_steps == 300
    halved = jax.tree.map(lambda leaf: leaf / 2, params)
    assert params_to_bytes(student.checkpoint.training.target_params) == params_to_bytes(halved)
    assert student.environment == EnvironmentConfig(name="catch", balls=2)


def test_a_card_says_that_the_teachers_table_was_recorded(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    checkpoint(FINISHED)
    assert "recorded data" not in read_student(run, "played").teacher.card.made
    content = unseal((run / CONFIG_FILE).read_text())
    content["teacher"]["data_fingerprint"] = "ab" * 32
    (run / CONFIG_FILE).write_text(seal(content))
    made = read_student(run, "taught").teacher.card.made
    # The first 16 of the fingerprint's 64 digits, as messages show it.
    assert f"; its teacher's table holds recorded data {'ab' * 8}; settings: " in made


def test_a_stopped_runs_score_says_that_it_is_of_earlier_weights(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    checkpoint(STOPPED)
    evaluated(run, online_updates=0, final=False, stage="online")
    card = read_student(run, "s").teacher.card
    assert card.score is not None
    assert card.score.note == (
        "played by earlier weights, of 50 updates: these, of 60, were not evaluated"
    )
    assert "a run of qdagger, stopped in its online stage after 50 offline and 10 on" in card.made


def test_an_evaluation_of_weights_that_were_lost_does_not_count(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    # Killed after 25 online updates; the newest checkpoint is of 10.
    checkpoint(STOPPED)
    evaluated(run)
    assert read_student(run, "s").teacher.card.score is None


def test_the_very_weights_go_before_the_newest_evaluation_before_them(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    checkpoint(STOPPED)
    evaluated(run, online_updates=0, final=False)
    evaluated(run, online_updates=10, final=False, episode_returns=(0.5,), episode_steps=(19,))
    score = read_student(run, "s").teacher.card.score
    assert score is not None
    assert (score.mean_return, score.note) == (0.5, "played by these weights")


def test_a_teacher_without_a_score_gets_the_one_its_students_run_has_measured(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    path = run / PROVENANCE_FILE
    noted = unseal(path.read_text())
    noted["parents"][0]["card"]["score"] = None
    path.write_text(seal(noted))
    checkpoint(FINISHED)
    evaluated(
        run, player="teacher", weights_version=0, final=False, episode_returns=(2.0, 2.0, 1.0, 1.0)
    )
    (parent,) = read_student(run, "s").teacher.card.parents
    assert parent.card.score is not None
    assert (parent.card.score.mean_return, parent.card.score.episodes) == (1.5, 4)
    assert parent.card.score.note == "played in the run of its student"


def test_a_student_of_nobody_has_no_parents(
    config: ExperimentConfig, tmp_path: Path, state: TrainState
) -> None:
    alone = dataclasses.replace(config, method=TabulaRasaConfig())
    open_run(tmp_path / "alone", resolve(alone))
    record = RunRecord(progress=FINISHED, seconds=1.0)
    write_checkpoint(tmp_path / "alone", state, record, number=1, keep=())
    card = read_student(tmp_path / "alone", "alone").teacher.card
    assert card.parents == ()
    assert card.algorithm == "tabula_rasa"


def test_a_student_is_called_after_its_method_and_its_folder(run: Path) -> None:
    assert default_name(run) == "qdagger-run"


def test_a_run_that_is_being_trained_is_left_alone(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    checkpoint(STOPPED)
    with locked(run / LEARNER_LOCK), pytest.raises(UserError, match="is being trained; wait for"):
        read_student(run, "s")


def test_what_cannot_be_exported_is_refused_with_what_to_do(
    run: Path, checkpoint: Callable[[Progress], None], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is not the folder of a run: it has no config.json"):
        read_student(tmp_path, "s")
    with pytest.raises(UserError, match="has no checkpoint yet; go on with the run"):
        read_student(run, "s")
    checkpoint(STOPPED)
    (run / PROVENANCE_FILE).unlink()
    with pytest.raises(UserError, match="does not say where it comes from: .* start it once more"):
        read_student(run, "s")


def test_a_finished_run_without_its_origin_gets_none_by_starting_again(
    run: Path, config: ExperimentConfig, checkpoint: Callable[[Progress], None]
) -> None:
    checkpoint(FINISHED)
    (run / PROVENANCE_FILE).unlink()
    # A finished run trains no more, so the machine of today is none of its own.
    open_run(run, resolve(config))
    assert not (run / PROVENANCE_FILE).exists()
    with pytest.raises(UserError, match=r"restore its provenance\.json, or, unless it is finished"):
        read_student(run, "s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"name": "mlp"}}, r"field network\.features is missing"),
        ({"environment": {"name": "catch"}}, r"field environment\.game is missing"),
        ({"random_return": "low"}, "field random_return is 'low'"),
    ],
)
def test_a_damaged_config_is_refused_by_field(
    run: Path, checkpoint: Callable[[Progress], None], change: dict[str, Any], message: str
) -> None:
    checkpoint(FINISHED)
    path = run / CONFIG_FILE
    path.write_text(seal(unseal(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        read_student(run, "s")


def test_a_checkpoint_of_another_network_is_refused(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    checkpoint(FINISHED)
    path = run / CONFIG_FILE
    config = unseal(path.read_text())
    config["network"]["features"] = [9]
    path.write_text(seal(config))
    with pytest.raises(UserError, match="does not fit this experiment"):
        read_student(run, "s")


def test_reading_a_run_changes_nothing_in_it(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    checkpoint(FINISHED)
    evaluated(run)
    before = contents()
    student = read_student(run, "s")
    assert contents() == before
    assert np.isfinite(student.teacher.params["params"]["Dense_0"]["bias"]).all()
