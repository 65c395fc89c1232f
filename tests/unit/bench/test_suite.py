from __future__ import annotations

from pathlib import Path

import pytest

from services.bench.suite import MAX_FILE_BYTES, Entry, Suite, SuiteTeacher, parse_suite, read_suite
from services.shared.errors import UserError
from tests.support.bench_rows import SUITE, SUITE_TEXT, changed

SETTING = '"online_steps" = 2_000'
ENTRYS_SETTING = '"method.offline_updates" = 500'
CHECKPOINT = 'checkpoint = "teachers/{game}"'


def test_a_suite_says_what_its_file_says() -> None:
    assert (
        Suite(
            name="two_games",
            environment="minatar",
            games=("asterix", "breakout"),
            seeds=(0, 1),
            teacher=SuiteTeacher(checkpoint="teachers/{game}"),
            title="two_games",
            settings={"online_steps": 2_000},
            entries={
                "qdagger": Entry(
                    method="qdagger",
                    student="minatar_dqn",
                    label="QDagger",
                    settings={"method.offline_updates": 500},
                ),
                "scratch": Entry(method="tabula_rasa", student="minatar_dqn"),
            },
        )
        == SUITE
    )
    # Without a label, an entry is called by its name.
    assert (SUITE.label_of("qdagger"), SUITE.label_of("scratch")) == ("QDagger", "scratch")


def test_an_environment_without_games_is_one_game_by_its_own_name() -> None:
    text = changed('["asterix", "breakout"]', "[]", changed('"minatar"', '"catch"'))
    assert parse_suite(text).games == ("catch",)


def test_settings_in_tables_are_the_same_as_dotted_names() -> None:
    tables = parse_suite(changed(SETTING, "evaluation.episodes = 7"))
    assert tables == parse_suite(changed(SETTING, '"evaluation.episodes" = 7'))


def test_a_teacher_may_be_trained_first() -> None:
    how = 'method = "tabula_rasa"\nstudent = "minatar_dqn"\nseed = 3\nsettings.online_steps = 9'
    assert parse_suite(changed(CHECKPOINT, how)).teacher == SuiteTeacher(
        method="tabula_rasa", student="minatar_dqn", seed=3, settings={"online_steps": 9}
    )


@pytest.mark.parametrize(
    ("found", "given", "message"),
    [
        ("seeds =", "sedes =", "did you mean seeds"),
        ("student =", "studnet =", "field entries.qdagger.studnet; did you mean student"),
        ("seeds = [0, 1]", "seeds = []", "seeds is 0 runs; give 1 to 10,000"),
        ("seeds = [0, 1]", "seeds = [0, -1]", "must be 0 to 4294967295, got -1"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "seeds has duplicates"),
        ("seeds = [0, 1]", 'seeds = ["0"]', "seeds.* whole number"),
        # 2 entries x 2 games x 2,501 seeds = 10,004 runs.
        ("[0, 1]", str([*range(2_501)]), "10,004 runs; give 1 to 10,000"),
        ('"asterix"', '"../asterix"', "is not a valid name"),
        ("[entries.scratch]", '[entries."a/b"]', "is not a valid name"),
        ("[entries.scratch]", "[entries.teacher]", "an entry is called 'teacher'.*rename"),
        ('name = "two_games"', "", "name is missing"),
        (SETTING, '"seed" = 1', "the suite sets it from seeds"),
        (SETTING, '"teacher.checkpoint" = "x"', r"as checkpoint of \[teacher\]"),
        (SETTING, '"evaluation.episodes" = 7\nevaluation.episodes = 8', "twice"),
        (ENTRYS_SETTING, '"environment.game" = "pong"', "the suite sets it from games"),
        (CHECKPOINT, 'method = "tabula_rasa"', "give a checkpoint, or method and student"),
        (CHECKPOINT, 'checkpoint = "x"\nseed = 1', "leave out method, student, seed and settings"),
        ('"tabula_rasa"', '"jsrl"\nlabel = "QDagger"', "labels has duplicates"),
        # matplotlib would read a formula, fail at it, or leave the name out of its legends.
        ('label = "QDagger"', 'label = "$\\\\oops$"', r"label is .*without '\$'"),
        ('label = "QDagger"', 'label = "_QDagger"', "not beginning with '_'"),
        ('label = "QDagger"', 'label = ""', "1 to 100 printable"),
        (
            ENTRYS_SETTING,
            '"environment.random_return" = 1.0',
            "entries.qdagger: settings has environment.random_return; give it in",
        ),
        (ENTRYS_SETTING, '"teacher.mean_return" = 1.0', "has teacher.mean_return; give it in"),
        (SETTING, '"teacher.mean_return" = 1.0', "games differ in it"),
        ('name = "two_games"', 'name = "two_games', "Illegal"),
    ],
)
def test_what_is_not_in_order_is_named(found: str, given: str, message: str) -> None:
    with pytest.raises((ValueError, UserError), match=message):
        parse_suite(changed(found, given))


def test_one_entry_at_least_has_the_teacher_that_scores_are_measured_by() -> None:
    text = changed('method = "qdagger"', 'method = "qdagger"\nteacher = "a"')
    assert parse_suite(text).entries["qdagger"].teacher == "a"
    text = changed('method = "tabula_rasa"', 'method = "tabula_rasa"\nteacher = "b"', text)
    with pytest.raises(ValueError, match="every entry has its own teacher.*: leave teacher out of"):
        parse_suite(text)


def test_the_scale_of_one_game_may_be_given() -> None:
    one = changed('["asterix", "breakout"]', '["asterix"]')
    given = parse_suite(changed(SETTING, '"teacher.mean_return" = 1.0', one))
    assert given.settings == {"teacher.mean_return": 1.0}


def test_a_file_that_is_too_large_or_not_there_is_an_error_for_the_user(tmp_path: Path) -> None:
    large = tmp_path / "large.toml"
    large.write_text("#" * (MAX_FILE_BYTES + 1))
    for path, message in (
        (tmp_path / "none.toml", "cannot be read"),
        (large, "more than the 262144 that a suite may have"),
        # It has no size, and no end.
        (Path("/dev/zero"), "no regular file"),
    ):
        with pytest.raises(UserError, match=message):
            read_suite(path)


SWEEP = """
[entries.scratch.sweep]
"method.learning_rate" = [1e-3, 1]
method.q_learning.optimiser.name = ["adam"]
"""


def test_a_sweep_becomes_an_entry_for_each_point_of_its_grid() -> None:
    suite = parse_suite(SUITE_TEXT + SWEEP)
    first, second = "scratch-learning_rate-0.001-name-adam", "scratch-learning_rate-1-name-adam"
    assert [*suite.entries] == ["qdagger", first, second]
    assert suite.entries[second] == Entry(
        method="tabula_rasa",
        student="minatar_dqn",
        label="scratch, learning rate 1, name adam",
        settings={"method.learning_rate": 1, "method.q_learning.optimiser.name": "adam"},
    )
    (sweep,) = suite.sweeps
    assert (sweep.entry, sweep.label) == ("scratch", "scratch")
    assert sweep.settings == ("method.learning_rate", "method.q_learning.optimiser.name")
    assert sweep.points == {first: (1e-3, "adam"), second: (1, "adam")}


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ('"seed" = [1, 2]', "settings has seed"),
        ('"online_steps" = 5', r"sweep has online_steps = 5; give a list of its values"),
        ('"online_steps" = []', r"sweep has online_steps = \[\]; give a list"),
        ('"online_steps" = [5, 5]', "sweep has duplicate values of online_steps: 5, 5"),
        ('"online_steps" = ["a b", "a-b"]', "two points of its sweep have the same name"),
        (f'"a" = {[*range(100)]}\n"b" = {[*range(100)]}', "sweep has 10,000 points; give at most"),
    ],
)
def test_a_sweep_that_is_none_is_refused(sweep: str, message: str) -> None:
    with pytest.raises((UserError, ValueError), match=message):
        parse_suite(f"{SUITE_TEXT}[entries.scratch.sweep]\n{sweep}\n")


def test_a_setting_is_swept_or_set() -> None:
    twice = '[entries.qdagger.sweep]\n"method.offline_updates" = [1]\n[entries.scratch]'
    with pytest.raises(ValueError, match=r"method.offline_updates is in both settings and sweep"):
        parse_suite(changed("[entries.scratch]", twice))
