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
from services.library.door import import_reference
from services.shared.errors import UserError

CATCH = EnvironmentConfig(name="catch")
SHARD = ShardAddress(data="localhost:1", control="localhost:3")


def config(checkpoint: Path | str, **changes: Any) -> ExperimentConfig:
    return dataclasses.replace(
        ExperimentConfig(
            method=QDaggerConfig(),
            environment=CATCH,
            network=NetworkConfig(name="mlp", features=(32,)),
            teacher=TeacherChoice(checkpoint=str(checkpoint)),
        ),
        **changes,
    )


def test_budgets_follow_from_the_replay_ratio(catch_teacher: Path) -> None:
    targets = resolve(config(catch_teacher)).targets
    assert targets.teacher_steps == 1_000_000
    assert targets.offline_updates == 1_000_000
    # 2.5M decisions, of which the first 20,000 fill replay; one update per 4.
    assert targets.online_updates == 620_000


def test_config_json_holds_what_was_chosen_and_what_was_found_out(catch_teacher: Path) -> None:
    experiment = resolve(config(catch_teacher, seed=7))
    content = json.loads(experiment.to_json())
    card = json.loads((catch_teacher / CARD_FILE).read_text())
    assert content["method"] == "qdagger"
    assert content["settings"]["q_learning"]["n_step"] == 3
    assert content["seed"] == 7
    assert content["environment"]["frames_per_step"] == 1
    assert content["teacher"]["checkpoint"] == str(catch_teacher)
    assert content["teacher_return"] == 1.0
    assert content["teacher"]["parameters_sha256"] == card["parameters_sha256"]
    # 2/5 - 1: a paddle that does not look is under the ball once in five.
    assert content["random_return"] == pytest.approx(-0.6)
    assert content["budgets"]["online_updates"] == 620_000
    # Every setting of an experiment is there: two that differ must not pass for one.
    names = {field.name for field in dataclasses.fields(ExperimentConfig)}
    assert names <= content.keys()


def test_the_temperature_of_a_teacher_of_logits_stands_in_config_json(catch_teacher: Path) -> None:
    def settings_of(method: Any, **told: Any) -> Any:
        choice = TeacherChoice(checkpoint=str(import_reference(str(catch_teacher), Hints(**told))))
        experiment = resolve(config(catch_teacher, teacher=choice, method=method))
        content = json.loads(experiment.to_json())
        job = Job(experiment=experiment, replay=(SHARD,))
        assert actor_config(job).method == experiment.config.method
        served = teacher_config(job).models[0].reference
        assert content["teacher"]["checkpoint"] == served == choice.checkpoint
        return content["settings"]

    def temperatures(settings: Any) -> tuple[float, float | None]:
        softening = settings["distillation"]
        return softening["temperature"], softening["teacher_temperature"]

    # Q-values are softened like the student's.
    settings = settings_of(QDaggerConfig())
    assert temperatures(settings) == (0.1, None)
    settings = settings_of(QDaggerConfig(), output="logits", temperature=2.0)
    assert temperatures(settings) == (0.1, 2.0)
    settings = settings_of(QDaggerConfig(), output="logits")
    assert temperatures(settings) == (0.1, 1.0)
    # What the user says goes first.
    settings = settings_of(
        QDaggerConfig(distillation=DistillationConfig(teacher_temperature=0.5)), output="logits"
    )
    assert temperatures(settings) == (0.1, 0.5)
    settings = settings_of(TabulaRasaConfig(), output="logits")
    assert "distillation" not in settings


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
    experiment = resolve(config("catching:Still"))
    assert experiment.card is not None and experiment.card.name == "still"
    assert isinstance(experiment.config.method, QDaggerConfig)
    assert experiment.config.method.distillation.teacher_temperature == 0.5
    # Nobody knows its score: the evaluator is to play it.
    assert experiment.teacher_return is None
    with pytest.raises(
        UserError,
        match=r"still .* takes observations float32 \(10, 5, 1\), catch has uint8 \(10, 5, 1\)",
    ):
        resolve(config("catching:Floats"))
    other = EnvironmentConfig(name="catch", stack_size=2)
    with pytest.raises(UserError, match=r"still .* takes observations uint8 \(10, 5, 1\)"):
        resolve(config("catching:Still", environment=other))


def test_roles_are_told_the_same(catch_teacher: Path, tmp_path: Path) -> None:
    experiment = resolve(config(catch_teacher))
    job = Job(experiment=experiment, run=tmp_path, replay=(SHARD,), learner_address="localhost:2")
    replay, learner, actor = replay_config(job), learner_config(job), actor_config(job)
    # 32 samples per update, one update per 4 decisions.
    assert replay.samples_per_insert == 8.0
    assert replay.min_student_size == 20_000
    assert replay.layout.n_step == 3
    assert replay.layout.frame_shape == learner.spec.frame_shape == (10, 5)
    assert replay.restore_from is None
    assert learner.method == actor.method
    assert learner.network == actor.network
    assert (learner.teacher_return, learner.random_return) == (1.0, pytest.approx(-0.6))


def test_shards_share_tables_and_threshold(catch_teacher: Path) -> None:
    experiment = resolve(
        config(
            catch_teacher,
            replay_shards=2,
            num_actors=3,
            replay_capacity=100_001,
            teacher_steps=601,
        )
    )
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
    with pytest.raises(ValueError, match="replay_shards is 3; it must be from 1 to the 2 actors"):
        config(catch_teacher, replay_shards=3, num_actors=2)


def test_a_return_given_by_hand_goes_before_the_cards(catch_teacher: Path) -> None:
    choice = TeacherChoice(checkpoint=str(catch_teacher), mean_return=0.25)
    assert resolve(config(catch_teacher, teacher=choice)).teacher_return == 0.25
    # Zero is a return, not the lack of one.
    choice = TeacherChoice(checkpoint=str(catch_teacher), mean_return=0.0)
    assert resolve(config(catch_teacher, teacher=choice)).teacher_return == 0.0


def test_a_teacher_service_runs_only_where_it_is_asked(catch_teacher: Path) -> None:
    plain = config(catch_teacher, method=TabulaRasaConfig(), teacher_steps=0)
    assert not resolve(plain).uses_teacher
    assert resolve(config(catch_teacher)).uses_teacher
    # Data that nobody would learn from is not played.
    unused = resolve(dataclasses.replace(plain, teacher_steps=10))
    assert not unused.uses_teacher
    assert unused.targets.teacher_steps == 0
    assert not actor_config(Job(experiment=unused, replay=(SHARD,))).teacher_plays


def test_what_is_shown_before_a_run_names_teacher_and_game(catch_teacher: Path) -> None:
    shown = describe(resolve(config(catch_teacher)))
    assert (shown["method"], shown["game"]) == ("qdagger", "catch")
    assert shown["teacher"] == "catch_by_hand, mean return 1.00"


def test_a_teacher_of_another_game_is_refused(catch_teacher: Path) -> None:
    breakout = config("pong_dqn", environment=EnvironmentConfig(game="breakout"))
    with pytest.raises(UserError, match=r"6 actions, breakout has 4: choose a teacher of this"):
        resolve(breakout)
    # Qbert has six actions, too.
    qbert = config("pong_dqn", environment=EnvironmentConfig(game="qbert"))
    with pytest.raises(UserError, match=r"plays pong, not qbert: choose a teacher of this"):
        resolve(qbert)
    stacked = config(catch_teacher, environment=EnvironmentConfig(name="catch", stack_size=2))
    with pytest.raises(UserError, match=r"\(10, 5, 1\).*\(10, 5, 2\).*choose a teacher of this"):
        resolve(stacked)


def test_a_teacher_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no teacher"):
        resolve(config(tmp_path / "none"))


def test_a_teacher_as_good_as_chance_gives_no_scale(catch_teacher: Path) -> None:
    choice = TeacherChoice(checkpoint=str(catch_teacher), mean_return=2 / 5 - 1)
    with pytest.raises(UserError, match="no scale"):
        resolve(config(catch_teacher, teacher=choice))


def test_budgets_that_leave_nothing_to_learn_from_are_refused(catch_teacher: Path) -> None:
    with pytest.raises(UserError, match=r"online_steps 20000 .* min_replay_size 20000"):
        resolve(config(catch_teacher, online_steps=20_000))
    with pytest.raises(UserError, match="offline updates need data of the teacher"):
        resolve(config(catch_teacher, teacher_steps=0))
    with pytest.raises(UserError, match="replay_capacity 100 is less than min_replay_size 20000"):
        resolve(config(catch_teacher, replay_capacity=100))
    small = QDaggerConfig(q_learning=QLearningConfig(n_step=3, min_replay_size=16))
    assert resolve(config(catch_teacher, method=small, online_steps=20)).targets.online_updates == 1


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
    ],
    ids=str,
)
def test_counts_without_a_meaning_are_refused_by_name(changes: dict[str, int]) -> None:
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=rf"{name} (is|must) .*{value}"):
        config("pong_dqn", **changes)


@pytest.mark.parametrize("loss", ["values", "best_action_and_values"])
def test_a_teacher_of_logits_is_refused_where_action_values_are_compared(
    catch_teacher: Path, loss: Any
) -> None:
    method = QDaggerConfig(distillation=DistillationConfig(loss=loss))
    imported = import_reference(str(catch_teacher), Hints(output="logits"))
    logits = TeacherChoice(checkpoint=str(imported))
    with pytest.raises(UserError, match=f"gives logits, and distillation.loss '{loss}' compares"):
        resolve(config(catch_teacher, teacher=logits, method=method))
    resolve(config(catch_teacher, method=method))
    policies = QDaggerConfig(distillation=DistillationConfig(loss="best_action"))
    resolve(config(catch_teacher, teacher=logits, method=policies))


def _alone(environment: EnvironmentConfig, network: NetworkConfig) -> ExperimentConfig:
    return ExperimentConfig(
        method=TabulaRasaConfig(),
        environment=environment,
        network=network,
        teacher=TeacherChoice(checkpoint=None, mean_return=500.0),
    )


def test_a_perceptron_has_the_bounds_of_the_environments_vectors() -> None:
    cartpole = EnvironmentConfig(name="cartpole")
    chosen = NetworkConfig(name="mlp", features=(32,))
    found = resolve(_alone(cartpole, chosen)).config.network
    # Degrees 15 and 360 in radians.
    assert found.input_high == pytest.approx((2.4, 5.0, 0.261799, 6.283185), abs=1e-6)
    assert found.input_low == tuple(-bound for bound in found.input_high)
    own = dataclasses.replace(chosen, input_low=(0.0,) * 4, input_high=(1.0,) * 4)
    assert resolve(_alone(cartpole, own)).config.network == own
    assert resolve(_alone(CATCH, chosen)).config.network == chosen


def test_replay_clips_rewards_where_the_environments_protocol_does() -> None:
    small = NetworkConfig(name="small_cnn", features=(4,))
    minatar = EnvironmentConfig(name="minatar", game="breakout")
    assert resolve(_alone(minatar, small)).layout.clips_rewards
    raw = dataclasses.replace(minatar, clip_rewards=False)
    assert not resolve(_alone(raw, small)).layout.clips_rewards
    assert not resolve(_alone(CATCH, small)).layout.clips_rewards
    clipped = dataclasses.replace(CATCH, clip_rewards=True)
    assert resolve(_alone(clipped, small)).layout.clips_rewards
