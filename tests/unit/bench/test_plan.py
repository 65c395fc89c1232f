from __future__ import annotations

from pathlib import Path

import pytest

from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun, plan_suite, run_seed
from services.bench.suite import parse_suite, read_suite
from services.shared.errors import UserError
from tests.support.bench_rows import SUITE_TEXT, TRAINED_TEXT, changed

SUITES = sorted((Path(__file__).parents[3] / "suites").glob("*.toml"))


def _plan(text: str = SUITE_TEXT) -> tuple[PlannedRun, ...]:
    return plan_suite(parse_suite(text), BenchFolder(Path("/out")))


def test_there_is_a_run_of_every_entry_game_and_seed_the_first_seeds_first() -> None:
    plan = _plan()
    assert [run.name for run in plan] == [
        f"{entry}/{game}/seed{seed}"
        for seed in (0, 1)
        for game in ("asterix", "breakout")
        for entry in ("qdagger", "scratch")
    ]
    assert plan[0].folder == Path("/out/runs/qdagger/asterix/seed0")


def test_a_run_has_the_suites_settings_then_its_entrys() -> None:
    qdagger, scratch, *_ = _plan()
    config = qdagger.config
    assert config.online_steps == scratch.config.online_steps == 2_000
    assert (config.environment.name, config.environment.game) == ("minatar", "asterix")
    assert config.network.name == "small_cnn"
    assert config.teacher.checkpoint == "teachers/asterix"
    # The paper's clocks begin after 20,000 steps, which 2,000 do not reach: offline updates only.
    assert (qdagger.updates, scratch.updates) == (500, 0)
    own = changed('"method.offline_updates" = 500', '"online_steps" = 24_000')
    qdagger, scratch, *_ = _plan(own)
    assert (qdagger.config.online_steps, scratch.config.online_steps) == (24_000, 2_000)
    # A million offline, and (24,000 - 20,000) / 4 online.
    assert qdagger.updates == 1_001_000


def test_environments_of_gymnasium_have_the_student_that_fits_and_folders_of_plain_names() -> None:
    text = changed('environment = "minatar"', 'environment = "gymnasium"')
    text = changed('["asterix", "breakout"]', '["CartPole-v1", "gymnasium:Acrobot-v1"]', text)
    plan = _plan(changed('"minatar_dqn"', '"auto"', text))
    (first, *_), other = plan, next(run for run in plan if run.game != plan[0].game)
    assert (first.student, first.config.network.name) == ("vector_dqn", "mlp")
    assert (other.game, other.config.environment.game) == ("gymnasium:Acrobot-v1",) * 2
    assert other.name == "qdagger/gymnasium-Acrobot-v1/seed0"
    assert other.folder == Path("/out/runs/qdagger/gymnasium-Acrobot-v1/seed0")
    assert other.config.teacher.checkpoint == "teachers/gymnasium-Acrobot-v1"


def test_an_entry_may_have_a_teacher_of_its_own() -> None:
    own = 'label = "QDagger"\nteacher = "ensemble:mean:a/{game},b"'
    qdagger, scratch, *_ = _plan(changed('label = "QDagger"', own))
    assert qdagger.config.teacher.checkpoint == "ensemble:mean:a/asterix,b"
    assert scratch.config.teacher.checkpoint == "teachers/asterix"
    shared = '[settings]\n"teacher.data" = "play"'
    qdagger, scratch, *_ = _plan(changed("[settings]", shared, changed('label = "QDagger"', own)))
    assert (scratch.config.teacher.data, qdagger.config.teacher.data) == ("play", None)
    assert (qdagger.has_suites_teacher, scratch.has_suites_teacher) == (False, True)


def test_all_runs_have_seeds_of_their_own_and_keep_them_when_the_suite_grows() -> None:
    seeds = {run.name: run.config.seed for run in _plan()}
    assert len({*seeds.values()}) == len(seeds)
    assert all(0 <= seed < 2**30 for seed in seeds.values())
    grown = _plan(changed("[0, 1]", "[0, 1, 2]"))
    assert seeds.items() <= {run.name: run.config.seed for run in grown}.items()
    assert run_seed("a", 1) != run_seed("a", 2)


def test_a_teacher_is_trained_per_game_without_a_teacher_and_named_by_its_students() -> None:
    plan = _plan(TRAINED_TEXT)
    teacher, other, student, *_ = plan
    assert (teacher.name, other.name) == ("teacher/asterix", "teacher/breakout")
    assert teacher.config.teacher.checkpoint is None
    assert student.needs == teacher.export == Path("/out/teachers/asterix")
    assert student.config.teacher.checkpoint == "/out/teachers/asterix"
    # What is not a protocol is the students' alone: their own budget, not their teacher's.
    assert teacher.config.online_steps == 2_500_000


def test_a_teacher_is_scored_as_its_students_are() -> None:
    protocol = '"evaluation.epsilon" = 0.05\n"environment.max_episode_steps" = 900'
    for run in _plan(changed('"online_steps" = 2_000', protocol, TRAINED_TEXT)):
        assert run.config.evaluation.epsilon == 0.05
        assert run.config.environment.max_episode_steps == 900


@pytest.mark.parametrize(
    ("found", "given", "message"),
    [
        ('method = "qdagger"', 'method = "qdager"', "'qdager' is not a method; near it: qdagger, "),
        ('"minatar_dqn"', '"minatar_dqm"', "'minatar_dqm' is not a student; use minatar_dqn"),
        ('label = "QDagger"', 'preset = "papre"', "not a preset of qdagger; near it: paper"),
        (
            'label = "QDagger"',
            'preset = "qdagger_rainbow"',
            r"\[entries.qdagger\]: qdagger_rainbow is named after its student",
        ),
        (
            '"tabula_rasa"\nstudent = "minatar_dqn"',
            '"jsrl"',
            r"\[entries.scratch\]: student is missing",
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
        (
            'checkpoint = "teachers/{game}"',
            'method = "tabula_rasa"\nstudent = "minatar_dqn"\nsettings."network.noisy" = true',
            r"\[teacher\]: the student minatar_dqn .*network.noisy is",
        ),
    ],
)
def test_what_there_is_not_is_found_out_before_anything_runs(
    found: str, given: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _plan(changed(found, given))


def test_a_preset_is_where_an_entry_may_begin() -> None:
    plan = _plan(changed('label = "QDagger"', 'preset = "paper"'))
    assert plan[0].config.method.q_learning.n_step == 3


def test_fine_tuning_takes_no_student_and_leaves_the_suites_network_to_the_others() -> None:
    tuned = changed('"tabula_rasa"\nstudent = "minatar_dqn"', '"fine_tuning"')
    plan = _plan(changed('"online_steps"', '"network.hidden_units" = 64\n"online_steps"', tuned))
    assert [run.student for run in plan[:2]] == ["minatar_dqn", "teacher's own"]
    with pytest.raises(UserError, match="own network, which network.hidden_units cannot change"):
        _plan(f'{tuned}\n[entries.scratch.settings]\n"network.hidden_units" = 64\n')


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_the_suites_that_come_with_this_fit_together(path: Path) -> None:
    suite, text = read_suite(path)
    runs = len(suite.entries) * len(suite.games) * len(suite.seeds)
    assert len([run for run in _plan(text) if run.export is None]) == runs
