from __future__ import annotations

from pathlib import Path

import pytest

from services.bench.suite import MAX_FILE_BYTES, Entry, SuiteTeacher, parse_suite, read_suite
from services.shared.errors import UserError
from tests.support.bench_rows import SUITE_TEXT


def test_a_suite_says_what_its_file_says() -> None:
    suite = parse_suite(SUITE_TEXT)
    assert (suite.name, suite.title, suite.environment) == ("two_games", "two_games", "minatar")
    assert (suite.games, suite.seeds) == (("asterix", "breakout"), (0, 1))
    assert suite.teacher == SuiteTeacher(checkpoint="teachers/{game}")
    assert suite.settings == {"online_steps": 2_000}
    assert suite.entries == {
        "qdagger": Entry(
            method="qdagger",
            student="minatar_dqn",
            label="QDagger",
            settings={"method.offline_updates": 500},
        ),
        "scratch": Entry(method="tabula_rasa", student="minatar_dqn"),
    }
    # Without a label, an entry is called by its name.
    assert (suite.label_of("qdagger"), suite.label_of("scratch")) == ("QDagger", "scratch")


def test_an_environment_without_games_is_one_game_by_its_own_name() -> None:
    text = SUITE_TEXT.replace('"minatar"', '"catch"').replace('["asterix", "breakout"]', "[]")
    suite = parse_suite(text)
    assert suite.games == ("catch",)


def test_settings_in_tables_are_the_same_as_dotted_names() -> None:
    dotted = SUITE_TEXT.replace('"online_steps" = 2_000', '"evaluation.episodes" = 7')
    tables = SUITE_TEXT.replace('"online_steps" = 2_000', "evaluation.episodes = 7")
    assert parse_suite(dotted) == parse_suite(tables)


def test_a_teacher_may_be_trained_first() -> None:
    how = 'method = "tabula_rasa"\nstudent = "minatar_dqn"\nseed = 3\nsettings.online_steps = 9'
    suite = parse_suite(SUITE_TEXT.replace('checkpoint = "teachers/{game}"', how))
    assert suite.teacher == SuiteTeacher(
        method="tabula_rasa", student="minatar_dqn", seed=3, settings={"online_steps": 9}
    )


@pytest.mark.parametrize(
    ("found", "given", "message"),
    [
        ("seeds =", "sedes =", "did you mean seeds"),
        ("student =", "studnet =", "field entries.qdagger.studnet; did you mean student"),
        ("seeds = [0, 1]", "seeds = []", "seeds are 0 runs; give 1 to 10,000"),
        ("seeds = [0, 1]", "seeds = [0, -1]", "must be 0 to 4294967295, got -1"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "seeds has one twice"),
        ("seeds = [0, 1]", 'seeds = ["0"]', r"seeds\[0\] is .0.; it must be a whole number"),
        ('"asterix"', '"../asterix"', "becomes a folder"),
        ("[entries.scratch]", '[entries."a/b"]', "becomes a folder"),
        ('name = "two_games"', "", "name is missing"),
        ('"online_steps" = 2_000', '"seed" = 1', "fills it in from seeds"),
        ('"online_steps" = 2_000', '"teacher.checkpoint" = "x"', r"from checkpoint of \[teacher\]"),
        ('"method.offline_updates" = 500', '"environment.game" = "pong"', "fills it in from games"),
        (
            'checkpoint = "teachers/{game}"',
            'method = "tabula_rasa"',
            "give a checkpoint, or method and student",
        ),
        (
            'checkpoint = "teachers/{game}"',
            'checkpoint = "x"\nseed = 1',
            "seed and settings are not for a given",
        ),
        (
            'method = "tabula_rasa"',
            'method = "jsrl"\nlabel = "QDagger"',
            "labels has 'QDagger' twice",
        ),
        # matplotlib would read a formula, fail at it, or leave the name out of its legends.
        ('label = "QDagger"', 'label = "$\\\\oops$"', r"labels has .*without '\$'"),
        ('label = "QDagger"', 'label = "_QDagger"', "not beginning with '_'"),
        ('label = "QDagger"', 'label = ""', "1 to 100 printable"),
        (
            '"method.offline_updates" = 500',
            '"environment.random_return" = 1.0',
            "entries.qdagger: settings has environment.random_return; all runs",
        ),
        (
            '"method.offline_updates" = 500',
            '"teacher.mean_return" = 1.0',
            "entries.qdagger: settings has teacher.mean_return; all runs",
        ),
        ('"online_steps" = 2_000', '"teacher.mean_return" = 1.0', "each game has its own"),
        ('name = "two_games"', 'name = "two_games', "Illegal"),
    ],
)
def test_what_is_not_in_order_is_named(found: str, given: str, message: str) -> None:
    assert found in SUITE_TEXT
    with pytest.raises(ValueError, match=message):
        parse_suite(SUITE_TEXT.replace(found, given))


def test_the_scale_of_one_game_may_be_given() -> None:
    one = SUITE_TEXT.replace('["asterix", "breakout"]', '["asterix"]')
    given = one.replace('"online_steps" = 2_000', '"teacher.mean_return" = 1.0')
    assert parse_suite(given).settings == {"teacher.mean_return": 1.0}


def test_the_same_setting_twice_in_two_spellings_is_an_error() -> None:
    both = '"evaluation.episodes" = 7\nevaluation.episodes = 8'
    with pytest.raises(ValueError, match="twice"):
        parse_suite(SUITE_TEXT.replace('"online_steps" = 2_000', both))


def test_a_suite_of_too_many_runs_is_refused() -> None:
    # 2 entries x 2 games x 2,501 seeds = 10,004 runs.
    with pytest.raises(ValueError, match="10,004 runs; give 1 to 10,000"):
        parse_suite(SUITE_TEXT.replace("[0, 1]", str(list(range(2_501)))))


def test_a_file_that_is_too_large_or_not_there_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_suite(tmp_path / "none.toml")
    large = tmp_path / "large.toml"
    large.write_text("#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(UserError, match="more than the 262144 that a suite may have"):
        read_suite(large)
    # It has no size, and no end.
    with pytest.raises(UserError, match="no regular file"):
        read_suite(Path("/dev/zero"))
