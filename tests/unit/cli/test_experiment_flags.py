from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.students.registry import STUDENTS
from services.cli.experiment_flags import Settings, parse, required
from services.launcher.paper_presets import PAPER_PRESETS
from services.launcher.presets import DEMO, PAPER, PRESETS
from services.shared.errors import UserError


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


def order(*arguments: str) -> Order:
    return parse(Order, arguments, "rrl order")


def test_without_a_preset_it_is_the_papers() -> None:
    assert order("qdagger", "--run", "x").experiment == PRESETS["qdagger"][PAPER]


@pytest.mark.parametrize("words", [("--preset", "demo"), ("--preset=demo",)], ids=" ".join)
def test_a_preset_is_chosen_wherever_it_stands(words: tuple[str, ...]) -> None:
    wanted = PRESETS["tabula_rasa"][DEMO]
    assert order("tabula_rasa", *words, "--run", "x").experiment == wanted
    assert order("tabula_rasa", "--run", "x", *words).experiment == wanted


def test_flags_change_one_setting_of_the_preset_each() -> None:
    flags = (
        "--run=somewhere",
        "--seed=3",
        "--method.q-learning.n-step=5",
        "--network.features",
        "8",
        "16",
        "16",
    )
    got = order("qdagger", "--preset=demo", *flags)
    demo = PRESETS["qdagger"][DEMO]
    method = demo.method
    assert got.run == Path("somewhere")
    assert got.port == 5
    assert got.experiment == dataclasses.replace(
        demo,
        seed=3,
        method=dataclasses.replace(
            method, q_learning=dataclasses.replace(method.q_learning, n_step=5)
        ),
        network=dataclasses.replace(demo.network, features=(8, 16, 16)),
    )
    assert isinstance(got.experiment.method, QDaggerConfig)


@pytest.mark.parametrize("name", sorted(PAPER_PRESETS))
def test_a_preset_of_the_paper_may_stand_in_the_methods_place(name: str) -> None:
    preset = PAPER_PRESETS[name]
    assert order(name, "--run", "x").experiment == preset.config
    assert order(preset.method, "--preset", name, "--run", "x").experiment == preset.config


@pytest.mark.parametrize("words", [("--student", "rainbow_impala"), ("--student=rainbow_impala",)])
def test_a_student_sets_network_and_algorithm_and_nothing_else(words: tuple[str, ...]) -> None:
    got = order("qdagger", "--run", "x", *words).experiment
    student = STUDENTS["rainbow_impala"]
    assert got == dataclasses.replace(
        PRESETS["qdagger"][PAPER], network=student.network, student=student.learning
    )


def test_a_preset_of_the_paper_takes_no_other_preset() -> None:
    with pytest.raises(
        UserError, match=r"qdagger_rainbow_impala is a preset itself.* demo another"
    ):
        order("qdagger_rainbow_impala", "--preset", "demo", "--run", "x")
    same = order("qdagger_rainbow", "--preset", "qdagger_rainbow", "--run", "x")
    assert same == order("qdagger_rainbow", "--run", "x")


@pytest.mark.parametrize(
    "words",
    [
        ("qdagger_rainbow", "--student", "iqn"),
        ("qdagger_drq", "--student", "dqn"),
        ("qdagger", "--preset", "qdagger_rainbow_impala", "--student", "rainbow"),
        ("qdagger_rainbow_impala", "--network.name", "nature_cnn"),
        ("dqfd_dqn", "--network.head", "quantile"),
        # C51 is Rainbow without priorities, DrQ's augmentation is what it is, and so on.
        ("qdagger_rainbow", "--student.priority-exponent", "0"),
        ("qdagger_drq", "--student.random-shift", "0"),
        ("qdagger_drq", "--student.intensity-scale", "0"),
        ("qdagger", "--preset", "qdagger_rainbow", "--network.noisy", "--network.dueling"),
        ("kickstarting_dqn", "--student.double"),
        ("reloaded_dqn", "--student.double"),
    ],
    ids=" ".join,
)
def test_a_preset_keeps_the_student_it_is_named_after(words: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"is named after its student .* give the method instead"):
        order(*words, "--run", "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--student iqn --network.head values", "iqn has implicit_quantile: .* or name dqn"),
        ("--student rainbow --student.priority-exponent 0", "rainbow has above 0: .* name c51"),
        ("--student dqn --student.double", "dqn has False: .* name double_dqn"),
        ("--student=drq --network.no-dueling", "drq has True: .* name no student and give single"),
    ],
)
def test_a_student_stays_what_its_name_says(words: str, message: str) -> None:
    with pytest.raises(UserError, match=f"was asked for, and .*{message}"):
        order("qdagger", *words.split(), "--run", "x")


def test_fine_tuning_takes_no_students_name_as_it_trains_the_teachers_network() -> None:
    with pytest.raises(UserError, match="own network, and the student rainbow names one; leave"):
        order("fine_tuning", "--student", "rainbow", "--run", "x")
    with pytest.raises(UserError, match="own network, and the student dqn names one"):
        order("reloaded_dqn", "--student", "dqn", "--run", "x")
    for words in (("--network.name", "impala_cnn"), ("--network.name=nature_cnn",)):
        with pytest.raises(UserError, match="own network, which --network.name cannot change"):
            order("fine_tuning", *words, "--run", "x")
    got = order("fine_tuning", "--student.double", "--run", "x").experiment
    assert got.student == StudentConfig(double=True)


def test_a_presets_own_student_and_single_settings_of_it_are_taken() -> None:
    named = order("qdagger_rainbow", "--student", "rainbow", "--run", "x")
    assert named == order("qdagger_rainbow", "--run", "x")
    wide = order("qdagger_rainbow_impala", "--network.width", "2", "--run", "x").experiment
    assert (wide.network.name, wide.network.width) == ("impala_cnn", 2)
    milder = order("qdagger_rainbow", "--student.priority-exponent=0.6", "--run", "x").experiment
    assert milder.student.priority_exponent == 0.6


def test_flags_of_single_settings_count_beside_a_student() -> None:
    got = order(
        "qdagger",
        "--student",
        "drq",
        "--run=x",
        "--student.random-shift=2",
        "--network.hidden-units=64",
    ).experiment
    drq = STUDENTS["drq"]
    assert got.student == dataclasses.replace(drq.learning, random_shift=2)
    assert got.network == dataclasses.replace(drq.network, hidden_units=64)
    # Without a student of the registry, too.
    plain = order("qdagger", "--run=x", "--student.double").experiment
    assert plain.student == StudentConfig(double=True)


def test_unknown_methods_presets_and_students_are_refused_with_what_there_is() -> None:
    with pytest.raises(UserError, match=r"'dager' is no method .*dagger.*; (?s:.*)tabula_rasa"):
        order("dager", "--run", "x")
    with pytest.raises(UserError, match="'qdagger_rainbo' is no method .*qdagger_rainbow"):
        order("qdagger_rainbo", "--run", "x")
    with pytest.raises(UserError, match="METHOD is missing; usage: rrl order METHOD"):
        order()
    with pytest.raises(UserError, match="'fast' is no preset of qdagger; use paper, demo"):
        order("qdagger", "--preset", "fast")
    with pytest.raises(UserError, match="--preset needs a name"):
        order("qdagger", "--preset")
    with pytest.raises(UserError, match="'rainbo' is no student; use rainbow"):
        order("qdagger", "--student", "rainbo")
    with pytest.raises(UserError, match="'x' is no student; use dqn or double_dqn"):
        order("qdagger", "--student", "x")
    with pytest.raises(UserError, match="--student needs a name"):
        order("qdagger", "--student")


def test_settings_that_do_not_fit_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="num_actors must be at least 1, got 0"):
        order("qdagger", "--run=x", "--num-actors=0")
    # Settings of a part are refused by the parser, which shows them in a box.
    with pytest.raises(SystemExit) as ended:
        order("qdagger", "--run=x", "--method.distillation.temperature=-1")
    assert ended.value.code == 2
    assert "temperature is -1.0; use a number above 0" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "flags",
    [("--run=x", "--seed=x"), ("--run=x", "--sed=1"), ()],
    ids=["no number", "no such flag", "required one missing"],
)
def test_flags_that_cannot_be_read_end_the_command(
    flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        order("qdagger", *flags)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--" in captured.err


def test_help_lists_methods_and_then_flags_with_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        order("--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in [*PRESETS, *PAPER_PRESETS])
    with pytest.raises(SystemExit) as ended:
        order("qdagger", "--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--method.distillation.temperature" in shown
    # The registry's students, and single settings of theirs.
    assert "--student dqn|double_dqn|" in " ".join(shown.split())
    assert "--student.double" in shown
    assert "0.1" in shown
