from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rrl_agents.students.config import StudentConfig
from rrl_agents.students.registry import STUDENTS
from services.cli.experiment_flags import Settings, parse, required
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.presets import DEMO, PAPER, PAPER_PRESETS, PRESETS
from services.shared.errors import UserError

QDAGGER = PRESETS["qdagger"][PAPER]
RAINBOW = PAPER_PRESETS["qdagger_rainbow"].config
WIDE = PAPER_PRESETS["qdagger_rainbow_impala"].config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """A command with an experiment.

    Attributes:
        experiment: What is run.
        run: Folder of the run.
        port: A number.
    """

    experiment: Settings
    run: Path = required()
    port: int = 5


def order(words: str) -> Order:
    return parse(Order, words.split(), "rrl order")


def experiment(words: str) -> ExperimentConfig:
    return order(f"{words} --run x").experiment


def of_student(name: str) -> ExperimentConfig:
    student = STUDENTS[name]
    return dataclasses.replace(QDAGGER, network=student.network, student=student.learning)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("qdagger", QDAGGER),
        ("tabula_rasa --preset demo", PRESETS["tabula_rasa"][DEMO]),
        ("tabula_rasa --seed 0 --preset=demo", PRESETS["tabula_rasa"][DEMO]),
        ("qdagger --student rainbow_impala", of_student("rainbow_impala")),
        ("qdagger --student=rainbow_impala", of_student("rainbow_impala")),
        # A preset's own preset and student.
        ("qdagger_rainbow --preset qdagger_rainbow", RAINBOW),
        ("qdagger_rainbow --student rainbow", RAINBOW),
        *((name, preset.config) for name, preset in PAPER_PRESETS.items()),
        *((f"{p.method} --preset {name}", p.config) for name, p in PAPER_PRESETS.items()),
    ],
)
def test_a_preset_and_a_student_make_the_experiment(words: str, wanted: ExperimentConfig) -> None:
    assert experiment(words) == wanted


@pytest.mark.parametrize(
    ("flags", "student"),
    [
        ("", "dqn"),
        ("--environment.name minatar --environment.game=breakout", "minatar_dqn"),
        ("--environment.name gymnasium --environment.game CartPole-v1", "vector_dqn"),
    ],
)
def test_auto_is_the_student_that_fits_the_environment(flags: str, student: str) -> None:
    found = experiment(f"qdagger --student auto {flags} --seed 3")
    assert found.network == STUDENTS[student].network
    assert found.student == STUDENTS[student].learning and found.seed == 3


def test_settings_of_the_network_count_beside_auto() -> None:
    flags = "--environment.name gymnasium --environment.game CartPole-v1 --network.features 8 8 8 8"
    found = experiment(f"qdagger --student=auto {flags}").network
    assert (found.name, found.features) == ("mlp", (8, 8, 8, 8))
    with pytest.raises(
        UserError, match="the student vector_dqn was asked for, and network.dueling"
    ):
        experiment(f"qdagger --student auto {flags} --network.dueling")


def test_auto_needs_an_environment_that_there_is() -> None:
    with pytest.raises(UserError, match="makes no environment 'CartPol-v1'"):
        experiment(
            "qdagger --student auto --environment.name gymnasium --environment.game CartPol-v1"
        )


def test_flags_change_one_setting_of_the_preset_each() -> None:
    flags = "--run=somewhere --seed=3 --method.q-learning.n-step=5 --network.features 8 16 16"
    demo = PRESETS["qdagger"][DEMO]
    q_learning = dataclasses.replace(demo.method.q_learning, n_step=5)
    wanted = dataclasses.replace(
        demo,
        seed=3,
        method=dataclasses.replace(demo.method, q_learning=q_learning),
        network=dataclasses.replace(demo.network, features=(8, 16, 16)),
    )
    assert order(f"qdagger --preset=demo {flags}") == Order(
        experiment=wanted, run=Path("somewhere"), port=5
    )


def test_flags_of_single_settings_count_beside_a_student() -> None:
    got = experiment("qdagger --student drq --student.random-shift=2 --network.hidden-units=64")
    drq = of_student("drq")
    assert got.student == dataclasses.replace(drq.student, random_shift=2)
    assert got.network == dataclasses.replace(drq.network, hidden_units=64)
    # Beside a preset's student, and without one of the registry.
    wide = experiment("qdagger_rainbow_impala --network.width 2")
    assert wide.network == dataclasses.replace(WIDE.network, width=2)
    milder = experiment("qdagger_rainbow --student.priority-exponent=0.6")
    assert milder.student == dataclasses.replace(RAINBOW.student, priority_exponent=0.6)
    for method in ("qdagger", "fine_tuning"):
        assert experiment(f"{method} --student.double").student == StudentConfig(double=True)


KEPT = "is named after its student .* give the method instead"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("qdagger_rainbow_impala --preset demo", "impala is a preset itself.* demo another"),
        ("qdagger_rainbow --student iqn", KEPT),
        ("qdagger_drq --student dqn", KEPT),
        ("qdagger --preset qdagger_rainbow_impala --student rainbow", KEPT),
        ("qdagger_rainbow_impala --network.name nature_cnn", KEPT),
        ("dqfd_dqn --network.head quantile", KEPT),
        # C51 is Rainbow without priorities, DrQ's augmentation is what it is, and so on.
        ("qdagger_rainbow --student.priority-exponent 0", KEPT),
        ("qdagger_drq --student.random-shift 0", KEPT),
        ("qdagger_drq --student.intensity-scale 0", KEPT),
        ("qdagger --preset qdagger_rainbow --network.noisy --network.dueling", KEPT),
        ("kickstarting_dqn --student.double", KEPT),
        ("reloaded_dqn --student.double", KEPT),
        (
            "qdagger --student iqn --network.head values",
            "asked .*has implicit_.*: .* name the student dqn",
        ),
        (
            "qdagger --student rainbow --student.priority-exponent 0",
            "asked .*above 0: leave that out, or name the student c51",
        ),
        ("qdagger --student dqn --student.double", "asked .*: .* name the student double_dqn"),
        ("qdagger --student=drq --network.no-dueling", "asked .*has True: .* name no student"),
        (
            "fine_tuning --student rainbow",
            "own network, which the student rainbow cannot change; leave",
        ),
        ("reloaded_dqn --student dqn", "own network, which the student dqn cannot"),
        ("fine_tuning --network.name impala_cnn", "own network, which --network.name cannot"),
        ("fine_tuning --network.name=nature_cnn", "own network, which --network.name cannot"),
        ("dager", r"'dager' is not a method .*dagger.*; (?s:.*)tabula_rasa"),
        ("qdagger_rainbo", "'qdagger_rainbo' is not a method .*qdagger_rainbow"),
        ("qdagger --preset fast", "'fast' is not a preset of qdagger; use paper, demo"),
        ("qdagger --student rainbo", "'rainbo' is not a student; use rainbow"),
        ("qdagger --student x", "'x' is not a student; use dqn or double_dqn"),
        ("qdagger --num-actors=0", "num_actors is 0; use a number at least 1"),
    ],
)
def test_words_that_do_not_fit_are_refused_with_what_fits(words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "METHOD is missing; usage: rrl order METHOD"),
        ("qdagger --preset", "--preset: expected one argument"),
        ("qdagger --student", "--student: expected one argument"),
    ],
)
def test_a_missing_word_is_named(words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        order(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--run=x --seed=x", "--seed"),
        ("--run=x --sed=1", "--sed"),
        ("", "--run"),
        # Settings of a part are refused by the parser, which shows them in a box.
        ("--run=x --method.distillation.temperature=-1", "is -1.0; use a number above 0"),
    ],
)
def test_flags_that_cannot_be_read_end_the_command(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        order(f"qdagger {words}")
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in " ".join(captured.err.split())


@pytest.mark.parametrize(
    ("words", "contained"),
    [
        ("--help", [*PRESETS, *PAPER_PRESETS]),
        # The registry's students, single settings of theirs, and defaults.
        (
            "qdagger --help",
            ["--method.distillation.temperature", "--student dqn|double_dqn|", "0.1"]
            + ["--student.double"],
        ),
    ],
)
def test_help_lists_methods_and_then_flags_with_defaults(
    words: str, contained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        order(words)
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(words in shown for words in contained)
