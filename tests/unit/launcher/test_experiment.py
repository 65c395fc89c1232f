from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.teacher_card import CARD_FILE
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.reincarnation.terms import DistillationConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.jobs import (
    Job,
    actor_config,
    learner_config,
    replay_config,
    teacher_config,
)
from services.launcher.resolution import describe, resolve
from services.learner.config import ShardAddress
from services.learner.stage_transitions import StageTargets
from services.library.teacher_references import import_reference
from services.shared.errors import UserError
from tests.support.experiments import catch_config

CATCH = EnvironmentConfig(name="catch")
SHARD = ShardAddress(data="localhost:1", control="localhost:3")


def test_budgets_follow_from_the_replay_ratio(catch_teacher: Path) -> None:
    # 2.5M decisions, of which the first 20,000 fill replay; one update per 4.
    assert resolve(catch_config(catch_teacher)).targets == StageTargets(
        teacher_steps=1_000_000, offline_updates=1_000_000, online_updates=620_000
    )


def test_config_json_holds_what_was_found_out(catch_teacher: Path) -> None:
    content = json.loads(resolve(catch_config(catch_teacher)).to_json())
    card = json.loads((catch_teacher / CARD_FILE).read_text())
    assert content["environment"]["frames_per_step"] == 1
    assert content["teacher_return"] == 1.0
    assert content["teacher"]["parameters_sha256"] == card["parameters_sha256"]
    # 2/5 - 1: a paddle that does not look is under the ball once in five.
    assert content["random_return"] == pytest.approx(-0.6)
    assert content["budgets"]["online_updates"] == 620_000


@pytest.mark.parametrize(
    ("hinted", "own", "temperature"),
    [
        # Q-values are softened like the student's.
        ({}, None, None),
        ({"output": "logits", "temperature": 2.0}, None, 2.0),
        ({"output": "logits"}, None, 1.0),
        # What the user says goes first.
        ({"output": "logits"}, 0.5, 0.5),
    ],
)
def test_the_temperature_of_a_teacher_of_logits_stands_in_config_json(
    catch_teacher: Path, hinted: dict[str, Any], own: float | None, temperature: float | None
) -> None:
    checkpoint = import_reference(str(catch_teacher), Hints(**hinted))
    method = QDaggerConfig(distillation=DistillationConfig(teacher_temperature=own))
    experiment = resolve(catch_config(checkpoint, method=method))
    softening = json.loads(experiment.to_json())["settings"]["distillation"]
    assert (softening["temperature"], softening["teacher_temperature"]) == (0.1, temperature)
    job = Job(experiment=experiment, replay=(SHARD,))
    assert actor_config(job).method == experiment.config.method
    assert teacher_config(job).models[0].reference == str(checkpoint)


def test_a_python_policy_can_be_the_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "catching.py").write_text(
        """
class Still:
    name, game, version = "still", "catch", "1"
    num_actions, observation_shape, observation_dtype = 3, (10, 5, 1), "uint8"
    output, temperature = "logits", 0.5
    def evaluate(self, observations): raise NotImplementedError

class Floats(Still):
    observation_dtype = "float32"
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    experiment = resolve(catch_config("catching:Still"))
    assert experiment.card is not None and experiment.card.name == "still"
    assert isinstance(experiment.config.method, QDaggerConfig)
    assert experiment.config.method.distillation.teacher_temperature == 0.5
    # Its score is unknown: the evaluator is to play it.
    assert experiment.teacher_return is None
    assert describe(experiment)["teacher"] == "still, to be scored first"
    with pytest.raises(UserError, match=r"still .* takes observations float32 .*catch has uint8"):
        resolve(catch_config("catching:Floats"))
    stacked = EnvironmentConfig(name="catch", stack_size=2)
    with pytest.raises(UserError, match=r"still .* takes observations uint8 \(10, 5, 1\)"):
        resolve(catch_config("catching:Still", environment=stacked))
    with pytest.raises(
        UserError, match=r"still is not a Q-network of ours .*choose another teacher"
    ):
        resolve(catch_config("catching:Still", method=FineTuningConfig()))


def test_roles_are_told_the_same(catch_teacher: Path, tmp_path: Path) -> None:
    experiment = resolve(catch_config(catch_teacher))
    job = Job(
        experiment=experiment, run=tmp_path, replay=(SHARD,), learner_address="localhost:2", index=1
    )
    replay = replay_config(dataclasses.replace(job, index=0))
    learner, actor = learner_config(job), actor_config(job)
    # 32 samples per update, one update per 4 decisions.
    assert (replay.samples_per_insert, replay.min_student_size) == (8.0, 20_000)
    assert (replay.layout.n_step, replay.restore_from) == (3, None)
    assert replay.layout.frame_shape == learner.spec.frame_shape == (10, 5)
    assert (learner.method, learner.network) == (actor.method, actor.network)
    assert (learner.teacher_return, learner.random_return) == (1.0, pytest.approx(-0.6))
    assert (learner.run, learner.replay, learner.linger_seconds) == (tmp_path, (SHARD,), 10.0)
    assert (actor.index, actor.learner_address, actor.replay_address) == (
        *(1, "localhost:2"),
        SHARD.data,
    )
    lingering = dataclasses.replace(job, lingers=True)
    assert learner_config(lingering) == dataclasses.replace(learner, linger_seconds=None)


def test_shards_share_tables_and_threshold(catch_teacher: Path) -> None:
    changes = {"replay_shards": 2, "num_actors": 3, "replay_capacity": 100_001}
    experiment = resolve(catch_config(catch_teacher, teacher_steps=601, **changes))
    shards = [replay_config(Job(experiment=experiment, index=index)) for index in (0, 1)]
    for shard in shards:
        # Half of 100,001 and of 20,000, rounded up; the ratio is of each shard's own items.
        assert (shard.student_capacity, shard.teacher_capacity) == (50_001, 50_001)
        assert (shard.min_student_size, shard.samples_per_insert) == (10_000, 8.0)
        assert shard.teacher_steps == 301
    assert shards[0].checkpoint_root != shards[1].checkpoint_root
    with pytest.raises(UserError, match=r"no replay shard 2: the run has 2"):
        replay_config(Job(experiment=experiment, index=2))
    with pytest.raises(UserError, match=r"1 replay addresses are given, the run has 2"):
        learner_config(Job(experiment=experiment, replay=(SHARD,)))


def test_the_learner_keeps_the_teachers_data_where_it_is_small(catch_teacher: Path) -> None:
    def keeps(**changes: Any) -> bool | None:
        return resolve(catch_config(catch_teacher, **changes)).config.keeps_teacher_data

    # A step of Catch: 50 bytes of frame, 4 + 4 + 12 + 3 of scalars, aligned to 76, and the numbers
    # of 4 frames, 16. 2^30 / 92 = 11.67 million.
    assert keeps(teacher_steps=11_600_000, replay_capacity=12_000_000)
    assert keeps(teacher_steps=11_700_000, replay_capacity=12_000_000) is False
    assert keeps(teacher_steps=10, keeps_teacher_data=False) is False
    assert keeps(teacher_steps=12_000_000, replay_capacity=12_000_000, keeps_teacher_data=True)
    # There is no other memory.
    assert keeps(teacher_steps=10, one_process=True) is False
    # Nothing of the teacher's is drawn.
    assert keeps(method=TabulaRasaConfig()) is False


@pytest.mark.parametrize("given", [True, False])
def test_replay_gives_each_step_once_to_a_learner_that_keeps_them(
    catch_teacher: Path, tmp_path: Path, given: bool
) -> None:
    experiment = resolve(catch_config(catch_teacher, keeps_teacher_data=given))
    assert json.loads(experiment.to_json())["keeps_teacher_data"] is given
    job = Job(experiment=experiment, run=tmp_path, replay=(SHARD,))
    assert learner_config(job).keeps_teacher_data is given
    assert replay_config(job).gives_teacher_data_once is given


# Zero is a return, not the lack of one.
@pytest.mark.parametrize("given", [0.25, 0.0])
def test_a_return_given_by_hand_goes_before_the_cards(catch_teacher: Path, given: float) -> None:
    choice = TeacherChoice(checkpoint=str(catch_teacher), mean_return=given)
    assert resolve(catch_config(catch_teacher, teacher=choice)).teacher_return == given


def test_a_teacher_service_runs_only_where_it_is_asked(catch_teacher: Path) -> None:
    assert resolve(catch_config(catch_teacher)).uses_teacher
    for steps in (0, 10):
        # Data that no stage learns from is not played.
        alone = catch_config(catch_teacher, method=TabulaRasaConfig(), teacher_steps=steps)
        experiment = resolve(alone)
        assert not experiment.uses_teacher
        assert experiment.targets.teacher_steps == 0
        assert not actor_config(Job(experiment=experiment, replay=(SHARD,))).teacher_plays


def test_what_is_shown_before_a_run_names_teacher_and_game(catch_teacher: Path) -> None:
    shown = describe(resolve(catch_config(catch_teacher)))
    assert (shown["method"], shown["game"]) == ("qdagger", "catch")
    assert shown["teacher"] == "catch_by_hand, mean return 1.00"


@pytest.mark.parametrize(
    ("teacher", "changes", "message"),
    [
        (
            "pong_dqn",
            {"environment": EnvironmentConfig(game="breakout")},
            "6 actions, breakout has 4",
        ),
        # Qbert has six actions, too.
        ("pong_dqn", {"environment": EnvironmentConfig(game="qbert")}, "plays pong, not qbert"),
        (
            None,
            {"environment": EnvironmentConfig(name="catch", stack_size=2)},
            "10, 5, 1.*10, 5, 2",
        ),
        ("nowhere", {}, "no teacher"),
        (None, {"teacher": TeacherChoice(checkpoint=None)}, "qdagger has no teacher: choose one"),
        (None, {"online_steps": 20_000}, "online_steps 20000 .* min_replay_size 20000"),
        (None, {"teacher_steps": 0}, "offline updates need data of the teacher"),
        (None, {"replay_capacity": 100}, "capacity 100 is less than min_replay_size 20000"),
        (
            None,
            {"teacher_steps": 30_001, "replay_capacity": 30_000},
            "30001 steps .* keeps the last 30000",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(
    catch_teacher: Path, teacher: str | None, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        resolve(catch_config(teacher or catch_teacher, **changes))


def test_a_teacher_as_good_as_chance_gives_no_scale(catch_teacher: Path) -> None:
    choice = TeacherChoice(checkpoint=str(catch_teacher), mean_return=2 / 5 - 1)
    with pytest.raises(UserError, match="no scale"):
        resolve(catch_config(catch_teacher, teacher=choice))


def test_steps_beyond_the_minimum_replay_size_are_learned_from(catch_teacher: Path) -> None:
    small = QDaggerConfig(q_learning=QLearningConfig(n_step=3, min_replay_size=16))
    config = catch_config(catch_teacher, method=small, online_steps=20)
    assert resolve(config).targets.online_updates == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"num_actors": 0},
        {"envs_per_actor": 0},
        {"online_steps": 0},
        {"replay_capacity": 0},
        {"offline_evaluation_period": 0},
        {"checkpoint_period_seconds": 0},
        {"publish_period_updates": 0},
        {"teacher_steps": -1},
        {"seed": -1},
        {"replay_shards": 3},
    ],
    ids=str,
)
def test_counts_without_a_meaning_are_refused_by_name(changes: dict[str, int]) -> None:
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=rf"{name} (is|must) .*{value}"):
        catch_config("pong_dqn", **changes)


@pytest.mark.parametrize("loss", ["values", "best_action_and_values"])
def test_a_teacher_of_logits_is_refused_where_action_values_are_compared(
    catch_teacher: Path, loss: Any
) -> None:
    method = QDaggerConfig(distillation=DistillationConfig(loss=loss))
    logits = import_reference(str(catch_teacher), Hints(output="logits"))
    with pytest.raises(UserError, match=f"gives logits, and distillation.loss '{loss}' compares"):
        resolve(catch_config(logits, method=method))
    resolve(catch_config(catch_teacher, method=method))
    policies = QDaggerConfig(distillation=DistillationConfig(loss="best_action"))
    resolve(catch_config(logits, method=policies))


def _alone(environment: EnvironmentConfig, network: NetworkConfig) -> ExperimentConfig:
    teacher = TeacherChoice(checkpoint=None, mean_return=500.0)
    return ExperimentConfig(
        method=TabulaRasaConfig(), environment=environment, network=network, teacher=teacher
    )


def test_a_network_for_images_is_refused_vectors_with_the_student_that_takes_them() -> None:
    cartpole = EnvironmentConfig(name="gymnasium", game="CartPole-v1")
    with pytest.raises(UserError, match="CartPole-v1 shows vectors .4,., .* use --student auto"):
        resolve(_alone(cartpole, NetworkConfig()))


def test_a_perceptron_has_the_bounds_of_the_environments_vectors() -> None:
    cartpole = EnvironmentConfig(name="gymnasium", game="CartPole-v1")
    chosen = NetworkConfig(name="mlp", features=(32,))
    found = resolve(_alone(cartpole, chosen)).config.network
    # Degrees 15 and 360 in radians.
    assert found.input_high == pytest.approx((2.4, 5.0, 0.261799, 6.283185), abs=1e-6)
    assert found.input_low == tuple(-bound for bound in found.input_high)
    own = dataclasses.replace(chosen, input_low=(0.0,) * 4, input_high=(1.0,) * 4)
    assert resolve(_alone(cartpole, own)).config.network == own
    assert resolve(_alone(CATCH, chosen)).config.network == chosen


@pytest.mark.parametrize(
    ("environment", "clips"),
    [
        (EnvironmentConfig(name="minatar", game="breakout"), True),
        (EnvironmentConfig(name="minatar", game="breakout", clip_rewards=False), False),
        (CATCH, False),
        (dataclasses.replace(CATCH, clip_rewards=True), True),
    ],
)
def test_replay_clips_rewards_where_the_environments_protocol_does(
    environment: EnvironmentConfig, clips: bool
) -> None:
    small = NetworkConfig(name="small_cnn", features=(4,))
    assert resolve(_alone(environment, small)).layout.clips_rewards is clips
