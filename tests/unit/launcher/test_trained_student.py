"""Cards of students, from run folders written by the parts that write them in a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import pytest

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.checkpoints.teacher_card import Compute, PlayProtocol
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import NetworkConfig, initial_params, make_network
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.train_state import TrainState, initial_train_state
from rrl_agents.typed_json import encode
from rrl_agents.types import Progress, Stage
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.machine import describe_hardware
from services.launcher.resolution import resolve
from services.launcher.run_directory import open_run
from services.launcher.trained_student import default_name, read_student
from services.learner.checkpoint_records import RunRecord
from services.learner.checkpointing import write_checkpoint
from services.learner.evaluation_records import EvaluationRecord, append_record
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, locked
from services.shared.run_config import CONFIG_FILE
from services.shared.run_provenance import PROVENANCE_FILE
from tests.support.bench_rows import record
from tests.support.experiments import catch_config

NETWORK = NetworkConfig(name="mlp", features=(8,))
FINISHED = Progress(
    random_return=-0.6,
    teacher_return=1.0,
    stage=Stage.FINISHED,
    teacher_steps=200,
    offline_updates=300,
    online_updates=25,
    actor_steps=300,
)
STOPPED = dataclasses.replace(FINISHED, stage=Stage.ONLINE, online_updates=10, actor_steps=240)


BEFORE, THESE = record(0, 2.0, 0.0, 2.0, 0.0), record(10, 0.5)
LAST = record(25, 2.0, 0.0, 2.0, 0.0, final=True)


@pytest.fixture
def config(catch_teacher: Path) -> ExperimentConfig:
    environment = EnvironmentConfig(name="catch", balls=2)
    return catch_config(catch_teacher, environment=environment, network=NETWORK)


@pytest.fixture(scope="module")
def state() -> TrainState:
    params = initial_params(make_network(NETWORK, 3), jax.random.key(5), (10, 5, 1))
    halved = jax.tree.map(lambda leaf: leaf / 2, params)
    return initial_train_state(params, OptimiserConfig())._replace(target_params=halved)


@pytest.fixture
def run(tmp_path: Path, config: ExperimentConfig) -> Path:
    open_run(tmp_path / "run", resolve(config))
    return tmp_path / "run"


@pytest.fixture
def checkpoint(run: Path, state: TrainState) -> Callable[[Progress], None]:
    def write(progress: Progress) -> None:
        write_checkpoint(run, state, RunRecord(progress=progress, seconds=12.5), number=1, keep=())

    return write


def change(file: Path, **fields: Any) -> None:
    """Write other fields into a sealed file."""
    file.write_text(seal(unseal(file.read_text()) | fields))


def test_a_finished_runs_student_is_told_whole(
    run: Path, checkpoint: Callable[[Progress], None], state: TrainState, catch_teacher: Path
) -> None:
    checkpoint(FINISHED)
    append_record(run / EVALUATIONS_FILE, LAST)
    student = read_student(run, "second")
    card = student.teacher.card
    params = params_to_bytes(jax.device_get(state.params))
    assert params_to_bytes(student.teacher.params) == params
    assert card.parameters_sha256 == params_hash(params)
    assert (card.name, card.game, card.algorithm) == ("second", "catch", "qdagger")
    assert (card.network, card.num_actions, card.observation_shape) == (NETWORK, 3, (10, 5, 1))
    # Two balls of 10 rows: 20 steps but the last; Catch has one frame per step, none sticks, and
    # its rewards are learned from as they are.
    assert card.protocol == PlayProtocol(
        frames_per_step=1,
        stack_size=1,
        max_episode_steps=19,
        sticky_actions=0.0,
        reward_clipping=False,
    )
    assert card.score is not None and card.score.interval is not None
    # (2 + 0 + 2 + 0) / 4 = 1, each one away from it.
    assert (card.score.mean_return, card.score.std_return, card.score.episodes) == (1.0, 1.0, 4)
    assert 0.0 <= card.score.interval[0] < 1.0 < card.score.interval[1] <= 2.0
    # Two balls, each missed four times in five: 2 * (0.2 - 0.8) = -1.2.
    assert card.random_return == pytest.approx(-1.2)
    assert card.compute == Compute(
        environment_frames=300,
        teacher_frames=200,
        gradient_updates=325,
        hardware_seconds=12.5,
        hardware=describe_hardware(),
    )
    assert "a run of qdagger, finished after 300 offline and 25 online updates" in card.made
    assert "n_step 3" in card.made and "recorded data" not in card.made
    assert card.code_version.startswith("rrl-agents 0.")
    (parent,) = card.parents
    assert parent.relations == ("teacher",)
    assert parent.card.to_json() == (catch_teacher / "card.json").read_text()
    training = student.training
    assert training.agent_steps == 300
    halved = params_to_bytes(jax.device_get(state.target_params))
    assert params_to_bytes(training.target_params) == halved
    assert student.config.environment == EnvironmentConfig(name="catch", balls=2)


def test_a_card_says_that_the_teachers_table_was_recorded(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    checkpoint(STOPPED)
    teacher = unseal((run / CONFIG_FILE).read_text())["teacher"]
    change(run / CONFIG_FILE, teacher={**teacher, "data_fingerprint": "ab" * 32})
    made = read_student(run, "taught").teacher.card.made
    assert "a run of qdagger, stopped in its online stage after 300 offline and 10 on" in made
    # The first 16 of the fingerprint's 64 digits, as messages show it.
    assert f"; its teacher's table holds recorded data {'ab' * 8}; settings: " in made


@pytest.mark.parametrize(
    ("progress", "records", "score"),
    [
        (FINISHED, [LAST], (1.0, "played by these weights, in the run's final evaluation")),
        (
            STOPPED,
            [BEFORE],
            (1.0, "played by earlier weights, of 300 updates: these, of 310, were not evaluated"),
        ),
        # The very weights go before the newest evaluation before them.
        (STOPPED, [BEFORE, THESE], (0.5, "played by these weights")),
        # Killed after 25 online updates; the newest checkpoint is of 10.
        (STOPPED, [LAST], None),
    ],
)
def test_a_score_says_which_weights_were_evaluated(
    run: Path,
    checkpoint: Callable[[Progress], None],
    progress: Progress,
    records: Sequence[EvaluationRecord],
    score: tuple[float, str] | None,
) -> None:
    checkpoint(progress)
    for one in records:
        append_record(run / EVALUATIONS_FILE, one)
    found = read_student(run, "s").teacher.card.score
    assert score == (None if found is None else (found.mean_return, found.note))


def test_a_teacher_without_a_score_gets_the_one_its_students_run_has_measured(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    (parent,) = unseal((run / PROVENANCE_FILE).read_text())["parents"]
    change(run / PROVENANCE_FILE, parents=[parent | {"card": {**parent["card"], "score": None}}])
    checkpoint(FINISHED)
    append_record(run / EVALUATIONS_FILE, record(0, 2.0, 2.0, 1.0, 1.0, player="teacher"))
    (found,) = read_student(run, "s").teacher.card.parents
    score = found.card.score
    assert score is not None
    assert (score.mean_return, score.episodes) == (1.5, 4)
    assert score.note == "played in the run of its student"


def test_a_student_of_nobody_has_no_parents(
    config: ExperimentConfig, tmp_path: Path, state: TrainState
) -> None:
    alone = tmp_path / "alone"
    open_run(alone, resolve(dataclasses.replace(config, method=TabulaRasaConfig())))
    finished = RunRecord(progress=FINISHED, seconds=1.0)
    write_checkpoint(alone, state, finished, number=1, keep=())
    card = read_student(alone, default_name(alone)).teacher.card
    # It is called after its method and its folder.
    assert (card.name, card.parents, card.algorithm) == ("tabula_rasa-alone", (), "tabula_rasa")


def test_a_run_that_is_being_trained_is_left_alone(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    checkpoint(STOPPED)
    with (
        locked(run / LEARNER_LOCK),
        pytest.raises(UserError, match="still training; wait until"),
    ):
        read_student(run, "s")


def test_what_cannot_be_exported_is_refused_with_what_to_do(
    run: Path, config: ExperimentConfig, checkpoint: Callable[[Progress], None], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is not the folder of a run: it has no config.json"):
        read_student(tmp_path, "s")
    with pytest.raises(UserError, match="has no checkpoint yet; resume the run"):
        read_student(run, "s")
    checkpoint(FINISHED)
    (run / PROVENANCE_FILE).unlink()
    # A finished run trains no more, so the machine of today is none of its own.
    open_run(run, resolve(config))
    assert not (run / PROVENANCE_FILE).exists()
    with pytest.raises(UserError, match=r"restore its provenance\.json, or, unless it is finished"):
        read_student(run, "s")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network": {"features": "many"}}, r"field network\.features is 'many'"),
        ({"environment": {"mood": "good"}}, r"unknown field environment\.mood.*the version that"),
        ({"random_return": "low"}, "field random_return is 'low'"),
        # The checkpoint is of another network.
        (
            {"network": encode(dataclasses.replace(NETWORK, features=(9,)))},
            "does not fit this experiment",
        ),
    ],
)
def test_a_damaged_config_is_refused_by_field(
    run: Path, checkpoint: Callable[[Progress], None], fields: dict[str, Any], message: str
) -> None:
    checkpoint(FINISHED)
    change(run / CONFIG_FILE, **fields)
    with pytest.raises(UserError, match=message):
        read_student(run, "s")


def test_reading_a_run_changes_nothing_in_it(
    run: Path, checkpoint: Callable[[Progress], None]
) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    checkpoint(FINISHED)
    append_record(run / EVALUATIONS_FILE, LAST)
    before = contents()
    read_student(run, "s")
    assert contents() == before
