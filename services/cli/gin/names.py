"""The gin parameters of the code released with Agarwal et al., 2022 (arXiv:2206.01626).

Covers github.com/google-research/reincarnating_rl and the Dopamine 4.0 it uses: what the released
gin files and README bind, the ablations of the paper, and their defaults. Parameters outside this
table are refused. Names have no module prefix; they are unique without it.
"""

from __future__ import annotations

from collections.abc import Mapping


class Parameter:
    """A parameter that gin can bind.

    Args:
        default: The released code's default; values must be of its type.
        settings: The rrl settings that take the value, where the method has them.
        choices: The allowed values, and what each becomes in rrl; None allows any of the type.
    """

    def __init__(
        self, default: object, *settings: str, choices: Mapping[object, object] | None = None
    ) -> None:
        self.default, self.settings, self.choices = default, settings, choices


_LEARNING_RATE = "method.learning_rate"
_Q_LEARNING = "method.q_learning"
_OPTIMISER = f"{_Q_LEARNING}.optimiser"

DQN_NETWORK = "ReincarnationDQNAgent.network"
RAINBOW_NETWORK = "ReincarnationRainbowAgent.network"

_OPTIMISERS = ("create_optimizer", "create_pretraining_optimizer")

_EPSILON = "@linearly_decaying_epsilon"
_ONE = Parameter(1, choices={1: None})
# Pixels of Dopamine's `drq_image_augmentation`.
_AUGMENTATION = Parameter(False, "student.random_shift", choices={False: 0, True: 4})


def _each(owners: tuple[str, ...], rows: Mapping[str, Parameter]) -> dict[str, Parameter]:
    return {f"{owner}.{name}": row for owner in owners for name, row in rows.items()}


PARAMETERS: Mapping[str, Parameter] = {
    "JaxDQNAgent.gamma": Parameter(0.99, f"{_Q_LEARNING}.discount"),
    "JaxDQNAgent.update_horizon": Parameter(1, f"{_Q_LEARNING}.n_step"),
    "JaxDQNAgent.min_replay_history": Parameter(20_000, f"{_Q_LEARNING}.min_replay_size"),
    "JaxDQNAgent.update_period": Parameter(4, f"{_Q_LEARNING}.update_period"),
    "JaxDQNAgent.target_update_period": Parameter(8_000, f"{_Q_LEARNING}.target_update_steps"),
    "JaxDQNAgent.epsilon_train": Parameter(0.01, f"{_Q_LEARNING}.final_epsilon"),
    "JaxDQNAgent.epsilon_eval": Parameter(0.001, "evaluation.epsilon"),
    "JaxDQNAgent.epsilon_decay_period": Parameter(250_000, f"{_Q_LEARNING}.epsilon_decay_steps"),
    "JaxDQNAgent.loss_type": Parameter("mse", choices={"huber": None}),
    "JaxDQNAgent.optimizer": Parameter(
        "adam", f"{_OPTIMISER}.name", choices={"adam": "adam", "rmsprop": "rmsprop"}
    ),
    "JaxDQNAgent.summary_writing_frequency": Parameter(500),
    "JaxFullRainbowAgent.noisy": Parameter(True, "network.noisy"),
    "JaxFullRainbowAgent.dueling": Parameter(True, "network.dueling"),
    "JaxFullRainbowAgent.double_dqn": Parameter(True, "student.double"),
    "JaxFullRainbowAgent.distributional": Parameter(True),
    "JaxFullRainbowAgent.num_atoms": Parameter(51),
    "JaxFullRainbowAgent.vmax": Parameter(10.0),
    # Dopamine's probabilities and weights are by the square root of the loss.
    "JaxFullRainbowAgent.replay_scheme": Parameter(
        "prioritized", "student.priority_exponent", choices={"prioritized": 0.5, "uniform": 0.0}
    ),
    "JaxFullRainbowAgent.num_updates_per_train_step": _ONE,
    "JaxFullRainbowAgent.epsilon_fn": Parameter(
        _EPSILON, choices=dict.fromkeys((_EPSILON, "@reincarnation_linearly_decaying_epsilon"))
    ),
    DQN_NETWORK: Parameter(
        "@JAXDQNNetworkWithRepresentations",
        "network.name",
        choices={
            "@JAXDQNNetworkWithRepresentations": "nature_cnn",
            "@NatureDQNNetwork": "nature_cnn",
            "@ImpalaNetworkWithRepresentations": "impala_cnn",
        },
    ),
    RAINBOW_NETWORK: Parameter(
        "@FullRainbowNetwork",
        "network.name",
        choices={"@FullRainbowNetwork": "nature_cnn", "@ImpalaRainbowNetwork": "impala_cnn"},
    ),
    "ReincarnationDQNAgent.num_updates_per_reincarnation_step": _ONE,
    "ReincarnationRainbowAgent.num_updates_per_reincarnation_step": _ONE,
    "ReincarnationDQNAgent.data_augmentation": _AUGMENTATION,
    "ReincarnationRainbowAgent.data_augmentation": _AUGMENTATION,
    "ReloadedDQNAgent.data_augmentation": _AUGMENTATION,
    "ImpalaEncoder.nn_scale": Parameter(1, "network.width"),
    "ImpalaEncoder.stack_sizes": Parameter((16, 32, 32), "network.features"),
    **_each(
        ("QDaggerDQNAgent", "QDaggerRainbowAgent"),
        {
            "distill_loss_coefficient": Parameter(1.0, "method.distillation.coefficient"),
            "distill_temperature": Parameter(1.0, "method.distillation.temperature"),
            "distill_decay_period": Parameter(-1, "method.weaning.wean_steps"),
            "distill_best_action_only": Parameter(
                False, "method.distillation.loss", choices={False: "kl", True: "best_action"}
            ),
        },
    ),
    "QDaggerRainbowAgent.method_type": Parameter(
        1, choices={1: "qdagger", 2: "ql_dagger", 3: "dagger"}
    ),
    "DQfDAgent.margin": Parameter(0.8, "method.margin"),
    "DQfDAgent.margin_coefficient": Parameter(1.0, "method.margin_coefficient"),
    "DQfDAgent.decay_period": Parameter(0, "method.wean_steps"),
    "DQfDAgent.dqfd_margin": Parameter(
        False, "method.margin_form", choices={False: "mean", True: "max"}
    ),
    "DQfDAgent.lr_decay": Parameter(False, choices={False: None}),
    "DQfDAgent.use_teacher_actions": Parameter(False, choices={True: None}),
    "JSRLAgent.roll_in_guide": Parameter(True),
    "JSRLAgent.max_roll_in_steps": Parameter(1_000),
    "JSRLAgent.decay_roll_in_steps": Parameter(0.8, "method.roll_in_decay"),
    "JSRLAgent.roll_out_guide_prob": Parameter(0.0, "method.mixture_share"),
    "JSRLAgent.roll_out_decay_period": Parameter(250_000, "method.mixture_steps"),
    "PretrainedDQNAgent.teacher_data_ratio": Parameter(0.0, "method.teacher_data_share"),
    "PretrainedDQNAgent.cql_coefficient": Parameter(1.0, "method.conservative.coefficient"),
    "PretrainedDQNAgent.distill_temperature": Parameter(1.0, "method.conservative.temperature"),
    "ReloadedDQNAgent.load_replay": Parameter(True),
    "TeacherDQNAgent.load_replay": Parameter(True),
    "TeacherDQNAgent.update_horizon": Parameter(1),
    "create_optimizer.learning_rate": Parameter(
        6.25e-5, _LEARNING_RATE, "method.conservative.online_learning_rate"
    ),
    "create_pretraining_optimizer.learning_rate": Parameter(
        6.25e-5, "method.conservative.offline_learning_rate"
    ),
    **_each(
        _OPTIMISERS,
        {
            "beta1": Parameter(0.9, f"{_OPTIMISER}.beta1"),
            "beta2": Parameter(0.999, f"{_OPTIMISER}.beta2"),
            "eps": Parameter(1.5e-4, f"{_OPTIMISER}.epsilon"),
            "centered": Parameter(False, f"{_OPTIMISER}.centered"),
        },
    ),
    "create_linear_schedule.initial_lr": Parameter(
        1e-4, _LEARNING_RATE, "method.weaning.taught_learning_rate"
    ),
    "create_linear_schedule.final_lr": Parameter(1e-5, "method.weaning.weaned_learning_rate"),
    **_each(
        ("OutOfGraphReplayBuffer", "OutOfGraphPrioritizedReplayBuffer"),
        {
            "replay_capacity": Parameter(1_000_000, "replay_capacity", "teacher_steps"),
            "batch_size": Parameter(32, f"{_Q_LEARNING}.batch_size"),
        },
    ),
    "create_atari_environment.game_name": Parameter(""),
    "create_atari_environment.sticky_actions": Parameter(
        True, "environment.sticky_action_probability", choices={True: 0.25, False: 0.0}
    ),
    "create_runner.schedule": Parameter("continuous_train"),
    "create_agent.agent_name": Parameter(""),
    "create_agent.debug_mode": Parameter(False),
    "Runner.num_iterations": Parameter(200),
    "Runner.training_steps": Parameter(250_000),
    "Runner.evaluation_steps": Parameter(125_000),
    "Runner.max_steps_per_episode": Parameter(27_000, "environment.max_episode_steps"),
    "RunnerWithTeacher.num_pretraining_iterations": Parameter(1),
    "RunnerWithTeacher.num_pretraining_steps": Parameter(100_000),
    "RunnerWithTeacher.teacher_steps": Parameter(100_000),
}
"""Every parameter, as "Name.parameter"; `experiment.py` reads some of those without settings."""

_ALL = ("JaxDQNAgent", "Runner", "create_atari_environment")
_DQN = (*_ALL, "OutOfGraphReplayBuffer", "ReincarnationDQNAgent")
_RAINBOW = (*_ALL, "OutOfGraphPrioritizedReplayBuffer", "JaxFullRainbowAgent")
_TAUGHT = ("create_pretraining_optimizer", "create_linear_schedule")

RAINBOW = "qdagger_rainbow"

AGENTS: Mapping[str, tuple[str, ...]] = {
    "qdagger_dqn": (*_DQN, *_TAUGHT, "QDaggerDQNAgent"),
    RAINBOW: (*_RAINBOW, "ReincarnationRainbowAgent", *_TAUGHT, "QDaggerRainbowAgent"),
    "dqfd_dqn": (*_DQN, *_TAUGHT, "DQfDAgent"),
    "pretrained_dqn": (*_DQN, *_OPTIMISERS, "PretrainedDQNAgent"),
    "jsrl_dqn": (*_DQN, "create_optimizer", "JSRLAgent"),
    "reloaded_dqn": (*_DQN, "create_optimizer", "ReloadedDQNAgent"),
}
"""`--agent` -> the classes and functions whose parameters it reads; of two for one setting, the
later one wins."""

_OLDER = {
    "Persistent": "Reincarnation",
    "ReincarnationRunner": "RunnerWithTeacher",
    "Distillation": "QDagger",
    "MarginDQN": "DQfD",
    "LOLSDQN": "JSRL",
    "num_persistence": "num_pretraining",
    "create_persistence": "create_pretraining",
    "persistence_linearly": "reincarnation_linearly",
    "per_persistent_step": "per_reincarnation_step",
    "distillation_": "qdagger_",
    "margin_dqn": "dqfd_dqn",
    "lols_dqn": "jsrl_dqn",
}
"""Parts of names in the first release, still in some of the newest gin files -> present names."""


def present_name(name: str) -> str:
    """The present form of a name of either generation."""
    for older, present in _OLDER.items():
        name = name.replace(older, present)
    return name
