"""The released code's bindings as settings of ours.

The nine files of github.com/google-research/reincarnating_rl stand here as names and numbers, the
presets they must become in `paper_presets`, which a table of the paper's numbers holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.training.balance import balanced_coefficient
from services.cli.gin.command import parse_flags, translated
from services.cli.gin.names import AGENTS as RELEASED_AGENTS
from services.cli.gin.names import PARAMETERS
from services.cli.gin.reading import RELEASED_FOLDER, SHIPPED
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.presets import PAPER_PRESETS
from services.launcher.settings import known_settings
from services.shared.errors import UserError

AGENTS = {
    "kickstarting_dqn": "qdagger_dqn",
    "qdagger_drq": "qdagger_rainbow",
    "qdagger_rainbow_impala": "qdagger_rainbow",
    "rehearsal_dqn": "pretrained_dqn",
    "reloaded_dqn_nature": "reloaded_dqn",
}
"""`--agent` of presets whose name is another."""

ORACLE = json.loads((Path(__file__).parents[3] / "oracles" / "released_methods.json").read_text())
"""`files`: the released files, read by gin: file -> binding -> value; references are "@name"."""

OLDER_NAMES = {
    "RunnerWithTeacher": "PersistentRunner",
    "num_pretraining": "num_persistence",
    "create_pretraining_optimizer": "create_persistence_optimizer",
    "ReincarnationDQNAgent": "PersistentDQNAgent",
    "ReincarnationRainbowAgent": "PersistentRainbowAgent",
    "QDaggerDQNAgent": "DistillationDQNAgent",
    "QDaggerRainbowAgent": "DistillationRainbowAgent",
    "DQfDAgent": "MarginDQNAgent",
    "JSRLAgent": "LOLSDQNAgent",
    "reincarnation_linearly_decaying_epsilon": "persistence_linearly_decaying_epsilon",
    "qdagger_": "distillation_",
    "dqfd_dqn": "margin_dqn",
    "jsrl_dqn": "lols_dqn",
}
"""Names at present, `--agent` too, -> names in the first release."""

Q, W = "method.q_learning", "method.weaning"
STICKY = "create_atari_environment.sticky_actions"
BEST_ACTION = "QDaggerDQNAgent.distill_best_action_only"
SCHEME = "JaxFullRainbowAgent.replay_scheme"
RATIO = "PretrainedDQNAgent.teacher_data_ratio"

WHERE_AND_WHOM = ("teacher.", "environment.game", "seed")
"""What the command line gives, and no preset."""


@pytest.fixture
def breakout(tmp_path: Path) -> Path:
    directory = tmp_path / "DQN_400" / "Breakout" / "1"
    (directory / "checkpoints").mkdir(parents=True)
    for name in ("ckpt.399", "sentinel_checkpoint_complete.399", "ckpt.400"):
        (directory / "checkpoints" / name).touch()
    return directory


def in_gin(value: object) -> str:
    return value if isinstance(value, str) and value.startswith("@") else repr(value)


def released(name: str) -> str:
    """The text of a released file."""
    imports = "import dopamine.jax.agents.dqn.dqn_agent\nimport reincarnating_rl.run_experiment\n"
    bindings = ORACLE["files"][name].items()
    return imports + "\n".join(f"{one} = {in_gin(value)}  # a comment" for one, value in bindings)


def older(text: str) -> str:
    for name, before in OLDER_NAMES.items():
        text = text.replace(name, before)
    return text


def translate(
    teacher: Path,
    agent: str,
    *bindings: str,
    file: str | None = None,
    flags: Sequence[str] = (),
) -> tuple[ExperimentConfig, str]:
    words = ["--agent", agent, "--base_dir", "run", "--teacher_checkpoint_dir", str(teacher)]
    files = [] if file is None else [f"--gin_files={file}"]
    single = [f"--gin_bindings={binding}" for binding in bindings]
    config, notes = translated(parse_flags([*words, *files, *single, *flags]))
    return config, "\n".join(notes)


def with_own_file(teacher: Path, agent: str, *bindings: str) -> tuple[ExperimentConfig, str]:
    return translate(teacher, agent, *bindings, file=f"{RELEASED_FOLDER}/{agent}.gin")


def comparable(config: ExperimentConfig) -> dict[str, object]:
    """Settings that presets decide, None for what an environment decides itself."""
    defaults = {
        "environment.sticky_action_probability": (None, 0.25),
        "environment.max_episode_steps": (None, 27_000),
    }
    settings = {
        name: None if value in defaults.get(name, ()) else value
        for name, value in known_settings(config).items()
        if not name.startswith(WHERE_AND_WHOM)
    }
    # A preset may leave it to the student.
    for term in make_recipe(config.method).terms:
        if term.name == "distillation":
            settings["method.distillation.coefficient"] = balanced_coefficient(
                term, config.network, config.student
            )
    return settings


OTHER_THAN_THE_PAPER: dict[str, dict[str, object]] = {
    "jsrl_dqn": {
        # The student begins, and shares all of the episode with the teacher afterwards.
        "method.roll_in_steps": 0,
        # Twenty iterations of 125,000 decisions, 4 to an update.
        "method.iteration_steps": 125_000,
        "online_evaluation_period": 31_250,
    },
    "reloaded_dqn_nature": {
        "method.q_learning.optimiser.name": "rmsprop",
        "method.q_learning.optimiser.beta2": 0.95,
        "method.q_learning.optimiser.epsilon": 1e-5,
        "method.q_learning.optimiser.centered": True,
    },
}
"""What a released file says otherwise than the paper, and the preset."""


@pytest.mark.parametrize("generation", ["present", "older"])
@pytest.mark.parametrize("name", sorted(ORACLE["files"]))
def test_a_released_file_is_the_preset_of_its_name(
    name: str, generation: str, breakout: Path, tmp_path: Path
) -> None:
    text, agent = released(name), AGENTS.get(name, name)
    if generation == "older":
        text, agent = older(text), older(agent)
    file = tmp_path / "released.gin"
    file.write_text(text)
    config, notes = translate(breakout, agent, file=str(file))
    preset = comparable(PAPER_PRESETS[name].config)
    assert comparable(config) == preset | OTHER_THAN_THE_PAPER.get(name, {})
    for idle in ("create_runner.schedule", "JaxDQNAgent.summary_writing_frequency"):
        assert (idle in notes) == (idle in ORACLE["files"][name])


@pytest.mark.parametrize("name", sorted(PAPER_PRESETS))
def test_a_file_of_ours_is_the_preset_of_its_name(name: str, breakout: Path) -> None:
    config, notes = translate(
        breakout, AGENTS.get(name, name), file=f"{RELEASED_FOLDER}/{name}.gin"
    )
    assert comparable(config) == comparable(PAPER_PRESETS[name].config)
    # Ours bind nothing that has no effect, but for the one atom of DrQ's values.
    unread = notes.partition("without effect here: ")[2]
    assert unread == ("JaxFullRainbowAgent.num_atoms" if name == "qdagger_drq" else "")


def test_we_ship_a_file_for_every_preset_and_no_other() -> None:
    assert {path.stem for path in SHIPPED.glob("*.gin")} == PAPER_PRESETS.keys()


def test_the_readmes_first_command_is_read(breakout: Path) -> None:
    flags = parse_flags(
        [
            *("--agent", "qdagger_rainbow"),
            *("--gin_files", "reincarnating_rl/configs/qdagger_rainbow.gin"),
            *("--base_dir", "/tmp/qdagger_rainbow"),
            *("--teacher_checkpoint_dir", str(breakout)),
            *("--teacher_checkpoint_number", "399", "--run_number=7"),
            *("--atari_roms_path=/tmp/atari_roms", "--alsologtostderr"),
        ]
    )
    config, _ = translated(flags)
    assert flags.base_dir == Path("/tmp/qdagger_rainbow")
    assert comparable(config) == comparable(PAPER_PRESETS["qdagger_rainbow"].config)
    assert (config.seed, config.environment.game) == (7, "Breakout")
    assert config.teacher.checkpoint == str(breakout / "checkpoints/ckpt.399")
    assert (config.teacher.data, config.teacher.data_number) == (str(breakout), 399)


@pytest.mark.parametrize("number", [400, 401])
def test_a_teacher_whose_checkpoint_is_not_complete_is_refused(breakout: Path, number: int) -> None:
    message = rf"checkpoint {number} is not here or not complete, found \[399\]; .* sentinel"
    with pytest.raises(UserError, match=message):
        translate(breakout, "qdagger_dqn", flags=(f"--teacher_checkpoint_number={number}",))


def test_the_readmes_debugging_bindings_do_what_they_say(breakout: Path) -> None:
    config, notes = with_own_file(
        breakout,
        "qdagger_rainbow",
        "Runner.evaluation_steps=10",
        "RunnerWithTeacher.num_pretraining_iterations=2",
        "RunnerWithTeacher.num_pretraining_steps=10",
        "JaxDQNAgent.min_replay_history = 64",
    )
    assert known_settings(config)["method.offline_updates"] == 2 * 10
    assert config.offline_evaluation_period == 10
    assert config.method.q_learning.min_replay_size == 64
    # Ten steps are part of one episode.
    assert (config.evaluation.episodes, config.evaluation.final_episodes) == (1, 1)
    assert "1 whole episodes per evaluation" in notes
    # The rest is the file's.
    assert config.online_steps == 15 * 250_000
    assert "qdagger_rainbow.gin does not exist: reading the file of that name that comes" in notes


@pytest.mark.parametrize(
    "reference",
    [
        "@reincarnation_networks.ImpalaRainbowNetwork",
        "@ImpalaRainbowNetwork",
        "@persistence_networks.ImpalaRainbowNetwork",
        "ReincarnationRainbowAgent.network = @ImpalaRainbowNetwork",
        "PersistentRainbowAgent.network = @reincarnating_rl.impala_networks.ImpalaRainbowNetwork",
    ],
)
def test_the_readmes_reference_gives_rainbow_the_impala_network(
    reference: str, breakout: Path
) -> None:
    config, _ = with_own_file(breakout, "qdagger_rainbow", reference)
    assert comparable(config) == comparable(PAPER_PRESETS["qdagger_rainbow_impala"].config)


SEAQUEST = ("create_atari_environment.game_name='Seaquest'",)


@pytest.mark.parametrize(
    ("is_released", "bound", "path", "game"),
    [
        (False, (), "Pong/Breakout/1", "Breakout"),
        (False, (), "breakout/1/checkpoints", "Breakout"),
        (False, (), "space_invaders", "SpaceInvaders"),
        (False, SEAQUEST, "Breakout/1", "Seaquest"),
        (False, SEAQUEST, "teachers/mine", "Seaquest"),
        # The released files say 'Pong', all of them.
        (True, (), "Breakout/1", "Breakout"),
        (True, (), "teachers/mine", "Pong"),
    ],
)
def test_the_game_is_the_command_lines_or_the_teachers_or_the_files(
    is_released: bool, bound: tuple[str, ...], path: str, game: str, tmp_path: Path
) -> None:
    directory = tmp_path / path
    directory.mkdir(parents=True)
    file = tmp_path / "released.gin"
    file.write_text(released("qdagger_dqn"))
    name = str(file) if is_released else "reincarnating_rl/configs/qdagger_dqn.gin"
    config, notes = translate(directory, "qdagger_dqn", *bound, file=name)
    assert config.environment.game == game
    gives_way = f"the game is {game}, which the teacher's directory is named after, and not Pong"
    assert (gives_way in notes) == (is_released and game != "Pong")


def test_without_any_game_it_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which game"):
        with_own_file(tmp_path, "qdagger_dqn")


@pytest.mark.parametrize(
    ("agent", "binding", "setting", "value"),
    [
        ("qdagger_dqn", "Runner.num_iterations=3", "online_steps", 3 * 250_000),
        ("qdagger_dqn", "Runner.training_steps=1000.0", "online_evaluation_period", 250),
        ("qdagger_dqn", "Runner.max_steps_per_episode=500", "environment.max_episode_steps", 500),
        ("qdagger_dqn", "Runner.evaluation_steps=250000", "evaluation.episodes", 20),
        ("qdagger_dqn", f"{STICKY}=False", "environment.sticky_action_probability", 0.0),
        ("qdagger_dqn", "JaxDQNAgent.epsilon_eval=0.05", "evaluation.epsilon", 0.05),
        ("qdagger_dqn", "OutOfGraphReplayBuffer.batch_size=16", f"{Q}.batch_size", 16),
        ("qdagger_dqn", "OutOfGraphReplayBuffer.replay_capacity=50000", "teacher_steps", 50_000),
        (
            "qdagger_dqn",
            "create_linear_schedule.initial_lr=1e-3",
            f"{W}.taught_learning_rate",
            1e-3,
        ),
        ("qdagger_dqn", "QDaggerDQNAgent.distill_decay_period=-1", f"{W}.wean_steps", 2_500_000),
        ("qdagger_dqn", f"{BEST_ACTION}=True", "method.distillation.loss", "best_action"),
        ("qdagger_dqn", "ReincarnationDQNAgent.data_augmentation=True", "student.random_shift", 4),
        # Of the Impala network alone.
        ("qdagger_dqn", "ImpalaEncoder.nn_scale=4", "network.width", 1),
        ("qdagger_rainbow", "JaxFullRainbowAgent.noisy=True", "network.noisy", True),
        ("qdagger_rainbow", "JaxFullRainbowAgent.vmax=5", "network.value_bound", 5.0),
        ("qdagger_rainbow", f"{SCHEME}='uniform'", "student.priority_exponent", 0.0),
        ("qdagger_rainbow", "JaxFullRainbowAgent.distributional=False", "network.head", "values"),
        (
            "qdagger_rainbow",
            "create_pretraining_optimizer.eps=1e-3",
            f"{Q}.optimiser.epsilon",
            1e-3,
        ),
        ("dqfd_dqn", "DQfDAgent.dqfd_margin=True", "method.margin_form", "max"),
        # The released code's never.
        ("dqfd_dqn", "DQfDAgent.decay_period=0", "method.wean_steps", 2_500_000),
        ("jsrl_dqn", "JSRLAgent.roll_out_guide_prob=0.0", "method.mixture_share", 0.0),
        ("pretrained_dqn", f"{RATIO}=0.5", "method.teacher_data_share", 0.5),
        ("reloaded_dqn", "ReloadedDQNAgent.load_replay=False", "teacher.data", None),
        # It has an augmentation of its own.
        ("reloaded_dqn", "ReincarnationDQNAgent.data_augmentation=True", "student.random_shift", 0),
    ],
)
def test_a_binding_becomes_its_setting(
    agent: str, binding: str, setting: str, value: object, breakout: Path
) -> None:
    config, _ = with_own_file(breakout, agent, binding)
    assert known_settings(config)[setting] == value


def test_a_noisy_rainbow_explores_by_its_noise_alone(breakout: Path) -> None:
    noisy = "JaxFullRainbowAgent.noisy = True"
    config, _ = with_own_file(breakout, "qdagger_rainbow", noisy)
    epsilon = make_recipe(config.method).exploration(noisy=config.network.noisy)
    assert epsilon(0) == epsilon(10**6) == 0.0


@pytest.mark.parametrize(("number", "method"), [(2, "QlDaggerConfig"), (3, "DaggerConfig")])
def test_the_ablations_are_methods_of_their_own(number: int, method: str, breakout: Path) -> None:
    config, notes = with_own_file(
        breakout,
        "qdagger_rainbow",
        f"QDaggerRainbowAgent.method_type = {number}",
        "create_linear_schedule.initial_lr = 3e-4",
    )
    assert type(config.method).__name__ == method
    assert known_settings(config)["method.learning_rate"] == 3e-4
    # Neither is weaned.
    unread = notes.partition("without effect here: ")[2]
    assert "QDaggerRainbowAgent.distill_decay_period" in unread
    assert "create_linear_schedule.final_lr" in unread


def test_a_teacher_without_recorded_data_plays(breakout: Path) -> None:
    config, _ = with_own_file(
        breakout,
        "qdagger_dqn",
        "TeacherDQNAgent.load_replay = False",
        "RunnerWithTeacher.teacher_steps = 30000",
    )
    assert config.teacher.data is None
    assert config.teacher_steps == 30_000


@pytest.mark.parametrize(
    ("agent", "binding", "why"),
    [
        ("qdagger_dqn", "JaxDQNAgent.optimizer = 'sgd'", "give 'adam' or 'rmsprop'"),
        ("qdagger_dqn", "JaxDQNAgent.loss_type = 'mse'", "give 'huber'"),
        ("qdagger_dqn", "ReincarnationDQNAgent.network = @ImpalaRainbowNetwork", "give @JAXDQN"),
        ("qdagger_dqn", "TeacherDQNAgent.update_horizon = 1", "same in both stages"),
        ("qdagger_dqn", "RunnerWithTeacher.teacher_steps = 5", "give 0 with"),
        ("qdagger_dqn", "TeacherDQNAgent.load_replay = False", "or more with False"),
        ("qdagger_rainbow", "ReincarnationRainbowAgent.network = @ImpalaRainbowNetwok", "@Impala"),
        ("qdagger_rainbow", "ReincarnationRainbowAgent.network = @FullRainbowNetwork()", "@Full"),
        ("qdagger_rainbow", "JaxFullRainbowAgent.replay_scheme = 'best'", "'prioritized' or"),
        ("qdagger_rainbow", "OutOfGraphReplayBuffer.batch_size = 16", "same in both stages"),
        ("qdagger_rainbow", "QDaggerRainbowAgent.method_type = 4", "give 1 or 2 or 3"),
        ("dqfd_dqn", "DQfDAgent.use_teacher_actions = False", "give True"),
        ("dqfd_dqn", "DQfDAgent.lr_decay = True", "give False"),
        ("pretrained_dqn", "create_optimizer.eps = 1.0", "same in both stages"),
        ("jsrl_dqn", "RunnerWithTeacher.num_pretraining_iterations = 2", "no offline stage"),
        ("jsrl_dqn", "JaxDQNAgent.gamma = 'high'", "give a value like 0.99"),
        ("jsrl_dqn", "JaxDQNAgent.gamma = True", "give a value like 0.99"),
        ("jsrl_dqn", "JaxDQNAgent.gamma = 1e999", "give a value like 0.99"),
        ("jsrl_dqn", "JaxDQNAgent.update_period = 0.5", "give a value like 4"),
        ("qdagger_dqn", "TeacherDQNAgent.load_replay = 1", "give a value like True"),
        ("jsrl_dqn", "create_atari_environment.game_name = 3", "give a value like ''"),
    ],
)
def test_what_rrl_does_not_do_is_refused_with_what_it_does(
    agent: str, binding: str, why: str, breakout: Path
) -> None:
    with pytest.raises(UserError, match="is not supported") as refused:
        with_own_file(breakout, agent, binding)
    assert why in str(refused.value)
    assert binding.partition(" ")[0] in str(refused.value)


@pytest.mark.parametrize(
    "binding",
    [
        "JaxDQNAgent.update_period = 0",
        "JaxDQNAgent.gamma = 2",
        "Runner.num_iterations = 0",
        "create_optimizer.learning_rate = -1.0",
        "JSRLAgent.decay_roll_in_steps = 1.0",
        "JSRLAgent.roll_out_guide_prob = 2.0",
    ],
)
def test_numbers_out_of_range_are_refused(binding: str, breakout: Path) -> None:
    with pytest.raises(UserError, match="use|must be|give"):
        with_own_file(breakout, "jsrl_dqn", binding)


def test_without_a_file_the_released_codes_defaults_count(breakout: Path) -> None:
    config, _ = translate(breakout, "qdagger_dqn", "TeacherDQNAgent.update_horizon = 1")
    settings = known_settings(config)
    # Its constructors' defaults, not the paper's numbers.
    assert settings["method.distillation.temperature"] == 1.0
    assert settings["method.distillation.coefficient"] == 1.0
    assert settings["method.q_learning.n_step"] == 1
    assert settings["online_steps"] == 200 * 250_000


@pytest.mark.parametrize(
    ("agent", "note"),
    [
        ("qdagger_dqn", "without effect here: JaxFullRainbowAgent.vmax"),
        ("reloaded_dqn", "loss_type is 'huber', which nothing binds; .* default is 'mse'"),
        ("dqfd_dqn", "use_teacher_actions is True, which nothing binds; .* default is False"),
        # All that is bound has an effect, and Rainbow does not read loss_type.
        ("qdagger_rainbow", "^$"),
    ],
)
def test_what_matters_for_the_result_is_noted(agent: str, note: str, breakout: Path) -> None:
    _, notes = translate(breakout, agent, "JaxFullRainbowAgent.vmax = 5.0")
    assert re.search(note, notes)


def test_defaults_are_those_of_the_released_codes_constructors() -> None:
    released = {name: one for name, one in ORACLE["defaults"].items() if name in PARAMETERS}
    assert len(released) > 40
    assert {name: PARAMETERS[name].default for name in released} == released


IDLE = {
    "JaxDQNAgent.summary_writing_frequency",
    "create_runner.schedule",
    "create_agent.agent_name",
    "create_agent.debug_mode",
}


def test_no_parameter_but_those_without_effect_is_one_that_no_agent_reads(breakout: Path) -> None:
    possible = {
        name: in_gin(next(iter(how.choices)) if how.choices else how.default)
        for name, how in PARAMETERS.items()
    }
    possible["ReincarnationRainbowAgent.network"] = "@ImpalaRainbowNetwork"
    possible["RunnerWithTeacher.teacher_steps"] = "0"
    # Of agents without an offline stage it is refused; bound above.
    del possible["RunnerWithTeacher.num_pretraining_iterations"]
    unread = set(possible)
    for agent in RELEASED_AGENTS:
        bindings = (f"{name} = {value}" for name, value in possible.items())
        _, notes = translate(breakout, agent, *bindings)
        unread &= set(notes.rpartition("without effect here: ")[2].split(", "))
    assert unread == IDLE
