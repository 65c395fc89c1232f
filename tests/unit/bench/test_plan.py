from __future__ import annotations

from pathlib import Path

import pytest

from services.bench.folder import BenchFolder
from services.bench.plan import Plan, plan_suite, run_seed
from services.bench.suite import parse_suite, read_suite
from services.shared.errors import UserError
from tests.support.bench_rows import SUITE, SUITE_TEXT

OUT = BenchFolder(Path("/out"))
SUITES = sorted((Path(__file__).parents[3] / "suites").glob("*.toml"))
TRAINED = 'method = "tabula_rasa"\nstudent = "minatar_dqn"'


def _trained(text: str) -> Plan:
    return plan_suite(parse_suite(text.replace('checkpoint = "teachers/{game}"', TRAINED)), OUT)


def test_there_is_a_run_of_every_entry_game_and_seed_the_first_seeds_first() -> None:
    plan = plan_suite(SUITE, OUT)
    assert plan.teachers == ()
    assert [run.name for run in plan.students] == [
        "qdagger/asterix/seed0",
        "scratch/asterix/seed0",
        "qdagger/breakout/seed0",
        "scratch/breakout/seed0",
        "qdagger/asterix/seed1",
        "scratch/asterix/seed1",
        "qdagger/breakout/seed1",
        "scratch/breakout/seed1",
    ]
    assert plan.students[0].folder == Path("/out/runs/qdagger/asterix/seed0")


def test_a_run_has_the_suites_settings_then_its_entrys() -> None:
    qdagger, scratch, *_ = plan_suite(SUITE, OUT).students
    assert qdagger.config.online_steps == scratch.config.online_steps == 2_000
    assert (qdagger.config.environment.name, qdagger.config.environment.game) == (
        "minatar",
        "asterix",
    )
    assert qdagger.config.network.name == "small_cnn"
    assert qdagger.config.teacher.checkpoint == "teachers/asterix"
    # The paper's clocks begin after 20,000 steps, which 2,000 do not reach: offline updates only.
    assert (qdagger.updates, scratch.updates) == (500, 0)


def test_an_entrys_settings_come_after_those_of_the_suite() -> None:
    own = SUITE_TEXT.replace('"method.offline_updates" = 500', '"online_steps" = 24_000')
    qdagger, scratch, *_ = plan_suite(parse_suite(own), OUT).students
    assert (qdagger.config.online_steps, scratch.config.online_steps) == (24_000, 2_000)
    # A million offline, and (24,000 - 20,000) / 4 online.
    assert qdagger.updates == 1_001_000


def test_all_runs_have_seeds_of_their_own() -> None:
    seeds = [run.config.seed for run in plan_suite(SUITE, OUT).students]
    assert len(set(seeds)) == len(seeds)
    assert seeds == [run.config.seed for run in plan_suite(SUITE, OUT).students]
    assert all(0 <= seed < 2**30 for seed in seeds)
    assert run_seed("a", 1) != run_seed("a", 2)


def test_a_suite_that_grows_keeps_the_seeds_of_its_runs() -> None:
    grown = plan_suite(parse_suite(SUITE_TEXT.replace("[0, 1]", "[0, 1, 2]")), OUT)
    before = {run.name: run.config.seed for run in plan_suite(SUITE, OUT).students}
    assert before.items() <= {run.name: run.config.seed for run in grown.students}.items()


def test_a_teacher_is_trained_per_game_without_a_teacher_and_named_by_its_students() -> None:
    plan = _trained(SUITE_TEXT)
    assert [run.name for run in plan.teachers] == ["teacher/asterix", "teacher/breakout"]
    teacher = plan.teachers[0]
    assert teacher.config.teacher.checkpoint is None
    assert teacher.export == Path("/out/teachers/asterix")
    student = plan.students[0]
    assert student.needs == teacher.export
    assert student.config.teacher.checkpoint == "/out/teachers/asterix"


def test_a_teacher_is_scored_as_its_students_are() -> None:
    protocol = '"evaluation.epsilon" = 0.05\n"environment.max_episode_steps" = 900'
    plan = _trained(SUITE_TEXT.replace('"online_steps" = 2_000', protocol))
    for run in (*plan.teachers, *plan.students):
        assert run.config.evaluation.epsilon == 0.05
        assert run.config.environment.max_episode_steps == 900
    # What is no protocol is the students' alone: their own budget, not their teacher's.
    assert _trained(SUITE_TEXT).teachers[0].config.online_steps == 2_500_000


@pytest.mark.parametrize(
    ("found", "given", "message"),
    [
        ('method = "qdagger"', 'method = "qdager"', "'qdager' is no method; near it: qdagger, "),
        ('"minatar_dqn"', '"minatar_dqm"', "no student; near it: minatar_dqn, "),
        ('label = "QDagger"', 'preset = "papre"', "no preset of qdagger; near it: paper"),
        (
            'label = "QDagger"',
            'preset = "qdagger_rainbow"',
            r"\[entries.qdagger\]: qdagger_rainbow is named after its student",
        ),
        (
            '"tabula_rasa"\nstudent = "minatar_dqn"',
            '"jsrl"',
            r"\[entries.scratch\]: no student is named",
        ),
        (
            '"method.offline_updates" = 500',
            '"student.random_shift" = 2',
            r"\[entries.qdagger\]: the student minatar_dqn was .* minatar_dqn has 0",
        ),
        ('"online_steps" = 2_000', '"network.head" = "quantile"', "minatar_dqn has values"),
        (
            '"tabula_rasa"',
            '"fine_tuning"',
            r"\[entries.scratch\]: fine_tuning trains the teacher's",
        ),
        ("method.offline_updates", "method.offline_update", r"\[entries.qdagger\].*offline_updat"),
        ('"online_steps" = 2_000', '"online_steps" = "many"', "online_steps"),
        ('"asterix"', '"asterisk"', "asterisk"),
    ],
)
def test_what_there_is_not_is_found_out_before_anything_runs(
    found: str, given: str, message: str
) -> None:
    assert found in SUITE_TEXT
    with pytest.raises(UserError, match=message):
        plan_suite(parse_suite(SUITE_TEXT.replace(found, given)), OUT)


def test_a_preset_is_where_an_entry_may_begin() -> None:
    text = SUITE_TEXT.replace('label = "QDagger"', 'preset = "paper"')
    assert plan_suite(parse_suite(text), OUT).students[0].config.method.q_learning.n_step == 3


def test_a_suites_own_teacher_keeps_its_student_too() -> None:
    trained = f'{TRAINED}\nsettings = {{ "network.noisy" = true }}'
    with pytest.raises(UserError, match=r"\[teacher\]: the student minatar_dqn .*network.noisy is"):
        _trained(SUITE_TEXT.replace('checkpoint = "teachers/{game}"', trained))


def test_fine_tuning_takes_no_student_and_leaves_the_suites_network_to_the_others() -> None:
    tuned = SUITE_TEXT.replace('"tabula_rasa"\nstudent = "minatar_dqn"', '"fine_tuning"')
    shared = tuned.replace('"online_steps"', '"network.hidden_units" = 64\n"online_steps"')
    plan = plan_suite(parse_suite(shared), OUT)
    assert [run.student for run in plan.students[:2]] == ["minatar_dqn", "teacher's own"]
    own = f'{tuned}\n[entries.scratch.settings]\n"network.hidden_units" = 64\n'
    with pytest.raises(UserError, match="own network, which network.hidden_units cannot change"):
        plan_suite(parse_suite(own), OUT)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_the_suites_that_come_with_this_fit_together(path: Path) -> None:
    suite, _ = read_suite(path)
    runs = len(suite.entries) * len(suite.games) * len(suite.seeds)
    assert len(plan_suite(suite, OUT).students) == runs
