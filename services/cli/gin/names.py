"""What gin may bind of the code released with Agarwal et al., 2022 (arXiv:2206.01626).

github.com/google-research/reincarnating_rl and the Dopamine 4.0 beneath it: names, defaults, and
the settings of rrl that take their values. Names are those of the present generation; `OLDER` has
those of the generation before, which its README still uses in places. A `*` in a name stands for
each class or function of `NAMES` that it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.cli.gin.reading import Reference

NAMES = (
    "dopamine.jax.agents.dqn.dqn_agent.JaxDQNAgent",
    "dopamine.jax.agents.dqn.dqn_agent.create_optimizer",
    "dopamine.jax.agents.dqn.dqn_agent.identity_epsilon",
    "dopamine.jax.agents.dqn.dqn_agent.linearly_decaying_epsilon",
    "dopamine.jax.agents.full_rainbow.full_rainbow_agent.JaxFullRainbowAgent",
    "dopamine.jax.networks.NatureDQNNetwork",
    "dopamine.jax.networks.FullRainbowNetwork",
    "dopamine.labs.atari_100k.atari_100k_rainbow_agent.Atari100kRainbowAgent",
    "dopamine.discrete_domains.atari_lib.create_atari_environment",
    "dopamine.discrete_domains.atari_lib.AtariPreprocessing",
    "dopamine.discrete_domains.run_experiment.Runner",
    "dopamine.discrete_domains.run_experiment.create_runner",
    "dopamine.discrete_domains.run_experiment.create_agent",
    "dopamine.replay_memory.circular_replay_buffer.OutOfGraphReplayBuffer",
    "dopamine.replay_memory.prioritized_replay_buffer.OutOfGraphPrioritizedReplayBuffer",
    "reincarnating_rl.reincarnation_dqn_agent.ReincarnationDQNAgent",
    "reincarnating_rl.reincarnation_rainbow_agent.ReincarnationRainbowAgent",
    "reincarnating_rl.qdagger_dqn_agent.QDaggerDQNAgent",
    "reincarnating_rl.qdagger_rainbow_agent.QDaggerRainbowAgent",
    "reincarnating_rl.dqfd_dqn_agent.DQfDAgent",
    "reincarnating_rl.jsrl_dqn_agent.JSRLAgent",
    "reincarnating_rl.pretrained_dqn_agent.PretrainedDQNAgent",
    "reincarnating_rl.reloaded_dqn_agent.ReloadedDQNAgent",
    "reincarnating_rl.teacher_dqn_agent.TeacherDQNAgent",
    "reincarnating_rl.run_experiment.RunnerWithTeacher",
    "reincarnating_rl.run_experiment.get_all_checkpoint_numbers",
    "reincarnating_rl.loss_helpers.create_linear_schedule",
    "reincarnating_rl.loss_helpers.create_pretraining_optimizer",
    "reincarnating_rl.loss_helpers.reincarnation_linearly_decaying_epsilon",
    "reincarnating_rl.impala_networks.ImpalaEncoder",
    "reincarnating_rl.impala_networks.JAXDQNNetworkWithRepresentations",
    "reincarnating_rl.impala_networks.ImpalaNetworkWithRepresentations",
    "reincarnating_rl.impala_networks.ImpalaRainbowNetwork",
    # Dopamine's, handed on.
    "reincarnating_rl.impala_networks.FullRainbowNetwork",
)
"""Classes and functions that gin may configure, or that a reference may name."""

OLDER: Mapping[str, str] = {
    "persistent_dqn_agent": "reincarnation_dqn_agent",
    "PersistentDQNAgent": "ReincarnationDQNAgent",
    "persistent_rainbow_agent": "reincarnation_rainbow_agent",
    "PersistentRainbowAgent": "ReincarnationRainbowAgent",
    "distillation_dqn_agent": "qdagger_dqn_agent",
    "DistillationDQNAgent": "QDaggerDQNAgent",
    "distillation_rainbow_agent": "qdagger_rainbow_agent",
    "DistillationRainbowAgent": "QDaggerRainbowAgent",
    "margin_dqn_agent": "dqfd_dqn_agent",
    "MarginDQNAgent": "DQfDAgent",
    "lols_dqn_agent": "jsrl_dqn_agent",
    "LOLSDQNAgent": "JSRLAgent",
    "PersistentRunner": "RunnerWithTeacher",
    "OfflinePretrainingRunner": "RunnerWithTeacher",
    # A part of the same runner, not an older name of it.
    "ReincarnationRunner": "RunnerWithTeacher",
    "create_persistence_optimizer": "create_pretraining_optimizer",
    "persistence_linearly_decaying_epsilon": "reincarnation_linearly_decaying_epsilon",
    "num_persistence_iterations": "num_pretraining_iterations",
    "num_persistence_steps": "num_pretraining_steps",
    "num_updates_per_persistent_step": "num_updates_per_reincarnation_step",
    # The modules that hand on the networks of `impala_networks`.
    "persistence_networks": "impala_networks",
    "reincarnation_networks": "impala_networks",
}
"""Other names of modules, classes, functions and parameters -> present name."""


LINEAR_EPSILONS = ("reincarnation_linearly_decaying_epsilon", "linearly_decaying_epsilon")
"""Schedules along a line: of the released code, without a warm-up, and of Dopamine."""

_EPSILON, _DOPAMINES_EPSILON = (Reference(name=name) for name in LINEAR_EPSILONS)

SETTINGS: Mapping[str, tuple[object, ...]] = {
    "JaxDQNAgent.gamma": (0.99, "method.q_learning.discount"),
    "JaxDQNAgent.update_horizon": (1, "method.q_learning.n_step"),
    "JaxDQNAgent.min_replay_history": (20_000, "method.q_learning.min_replay_size"),
    "JaxDQNAgent.update_period": (4, "method.q_learning.update_period"),
    "JaxDQNAgent.target_update_period": (8_000, "method.q_learning.target_update_steps"),
    "JaxDQNAgent.epsilon_train": (0.01, "method.q_learning.final_epsilon"),
    "JaxDQNAgent.epsilon_eval": (0.001, "evaluation.epsilon"),
    "JaxDQNAgent.epsilon_decay_period": (250_000, "method.q_learning.epsilon_decay_steps"),
    "JaxDQNAgent.loss_type": (None,),
    "JaxDQNAgent.optimizer": ("adam", "method.q_learning.optimiser.name"),
    "JaxFullRainbowAgent.noisy": (True, "network.noisy"),
    "JaxFullRainbowAgent.dueling": (True, "network.dueling"),
    "JaxFullRainbowAgent.double_dqn": (True, "student.double"),
    "JaxFullRainbowAgent.distributional": (True,),
    "JaxFullRainbowAgent.num_atoms": (51,),
    "JaxFullRainbowAgent.vmax": (10.0,),
    "JaxFullRainbowAgent.vmin": (None,),
    "JaxFullRainbowAgent.replay_scheme": ("prioritized",),
    "JaxFullRainbowAgent.epsilon_fn": (_DOPAMINES_EPSILON,),
    "ReincarnationDQNAgent.epsilon_fn": (_EPSILON,),
    "ReincarnationDQNAgent.network": (Reference(name="JAXDQNNetworkWithRepresentations"),),
    "ReincarnationRainbowAgent.network": (Reference(name="FullRainbowNetwork"),),
    "Re*Agent.data_augmentation": (False,),
    "QDaggerDQNAgent.distill_type": (1,),
    "QDaggerRainbowAgent.method_type": (1,),
    "QDagger*.distill_loss_coefficient": (1.0, "method.distillation.coefficient"),
    "QDagger*.distill_temperature": (1.0, "method.distillation.temperature"),
    "QDagger*.distill_decay_period": (-1, "method.weaning.wean_steps"),
    "QDagger*.distill_best_action_only": (False,),
    "DQfDAgent.margin": (0.8, "method.margin"),
    "DQfDAgent.margin_coefficient": (1.0, "method.margin_coefficient"),
    "DQfDAgent.decay_period": (0, "method.wean_steps"),
    "DQfDAgent.dqfd_margin": (False,),
    "DQfDAgent.use_teacher_actions": (False,),
    "JSRLAgent.roll_in_guide": (True,),
    "JSRLAgent.max_roll_in_steps": (1_000,),
    "JSRLAgent.decay_roll_in_steps": (0.8, "method.roll_in_decay"),
    "JSRLAgent.roll_out_guide_prob": (0.0, "method.mixture_share"),
    "JSRLAgent.roll_out_decay_period": (250_000, "method.mixture_steps"),
    "JSRLAgent.roll_out_decay_fn": (_EPSILON,),
    "PretrainedDQNAgent.teacher_data_ratio": (0.0, "method.teacher_data_share"),
    "PretrainedDQNAgent.cql_coefficient": (1.0, "method.conservative.coefficient"),
    "PretrainedDQNAgent.distill_temperature": (1.0, "method.conservative.temperature"),
    "ReloadedDQNAgent.load_replay": (True,),
    "TeacherDQNAgent.load_replay": (True,),
    "TeacherDQNAgent.update_horizon": (1,),
    "create_optimizer.learning_rate": (
        6.25e-5,
        "method.learning_rate",
        "method.conservative.online_learning_rate",
    ),
    "create_pretraining_optimizer.learning_rate": (
        6.25e-5,
        "method.conservative.offline_learning_rate",
    ),
    "create_*optimizer.beta1": (0.9, "method.q_learning.optimiser.beta1"),
    "create_*optimizer.beta2": (0.999, "method.q_learning.optimiser.beta2"),
    "create_*optimizer.eps": (1.5e-4, "method.q_learning.optimiser.epsilon"),
    "create_*optimizer.centered": (False, "method.q_learning.optimiser.centered"),
    "create_linear_schedule.initial_lr": (
        1e-4,
        "method.learning_rate",
        "method.weaning.taught_learning_rate",
    ),
    "create_linear_schedule.final_lr": (1e-5, "method.weaning.weaned_learning_rate"),
    "ImpalaEncoder.nn_scale": (1, "network.width"),
    "ImpalaEncoder.stack_sizes": ((16, 32, 32), "network.features"),
    "OutOfGraph*.replay_capacity": (1_000_000, "replay_capacity", "teacher_steps"),
    "OutOfGraph*.batch_size": (32, "method.q_learning.batch_size"),
    "create_atari_environment.game_name": (None,),
    "create_atari_environment.sticky_actions": (True,),
    "Runner.num_iterations": (200,),
    "Runner.training_steps": (250_000,),
    "Runner.evaluation_steps": (125_000,),
    "Runner.max_steps_per_episode": (27_000, "environment.max_episode_steps"),
    "RunnerWithTeacher.num_pretraining_iterations": (1,),
    "RunnerWithTeacher.num_pretraining_steps": (100_000,),
    "RunnerWithTeacher.teacher_steps": (100_000,),
}
"""Gin name -> default, and the settings that take its value, those of them that the method has.

Where there are none, `experiment.py` has what the value decides.
"""

KINDS: Mapping[str, Any] = {
    "JaxDQNAgent.loss_type": str | None,
    "JaxFullRainbowAgent.vmin": float | None,
    "create_atari_environment.game_name": str | None,
}
"""Types of parameters whose default is None."""

_UNREAD = "the released code does not read it for these agents: bind ReincarnationRainbowAgent"

FIXED: Mapping[str, Mapping[str, object]] = {
    "rrl shows Atari as Dopamine does: 84 x 84 uint8, every 4th frame, 4 stacked": {
        "JaxDQNAgent.observation_shape": (84, 84),
        "JaxDQNAgent.observation_dtype": None,
        "JaxDQNAgent.stack_size": 4,
        "AtariPreprocessing.frame_skip": 4,
        "AtariPreprocessing.screen_size": 84,
    },
    "an episode ends with the game": {"AtariPreprocessing.terminal_on_life_loss": False},
    "rewards are clipped in training, as there": {"Runner.clip_rewards": True},
    "training and evaluation are separate processes": {"JaxDQNAgent.eval_mode": False},
    "runs end with play of the student's own": {
        "RunnerWithTeacher.use_offline_samples_only": False
    },
    "pixels go to the network divided by 255, as there": {
        "Jax*Agent.preprocess_fn": None,
        "ReincarnationDQNAgent.preprocess_fn": None,
        "PretrainedDQNAgent.preprocess_fn": None,
        "ReloadedDQNAgent.preprocess_fn": None,
    },
    "the released code's loss is Huber's": {
        "JaxFullRainbowAgent.mse_loss": False,
        "Atari100kRainbowAgent.mse_loss": False,
    },
    "an update is one batch": {
        "JaxFullRainbowAgent.num_updates_per_train_step": 1,
        "ReloadedDQNAgent.num_updates_per_train_step": 1,
        "Reincarnation*Agent.num_updates_per_reincarnation_step": 1,
    },
    f"{_UNREAD}.network, or give --gin_bindings @reincarnation_networks.ImpalaRainbowNetwork": {
        "JaxFullRainbowAgent.network": None,
        "Atari100kRainbowAgent.network": None,
    },
    f"{_UNREAD}.data_augmentation": {"Atari100kRainbowAgent.data_augmentation": False},
    "DQfD's learning rate stays as it is": {"DQfDAgent.lr_decay": False},
    "the TD term counts as it is": {"PretrainedDQNAgent.td_loss_coefficient": 1.0},
    "the teacher's data is drawn uniformly": {
        "PretrainedDQNAgent.teacher_replay_scheme": "uniform"
    },
    "each stack has two residual blocks": {"ImpalaEncoder.num_blocks": 2},
    "items hold what Q-learning needs": {"OutOfGraph*.extra_storage_types": None},
}
"""Why only the released code's default is possible -> gin name -> that default."""

IDLE: Mapping[str, tuple[str, ...]] = {
    "in the released code it is the teacher's, which rrl reads from the checkpoint; the student's "
    "is ReincarnationDQNAgent.network": ("JaxDQNAgent.network",),
    "the released code's agents give their own": ("JaxDQNAgent.epsilon_fn",),
    "a run is resumed from its own checkpoints": (
        "JaxDQNAgent.allow_partial_reload",
        "get_all_checkpoint_numbers.sentinel_file_identifier",
    ),
    "--run_number is the seed": ("*Agent.seed",),
    "metrics are written by the learner, every --log-period of its own": (
        "*Agent.summary_writer",
        "*Agent.summary_writing_frequency",
        "*Agent.collector_allowlist",
    ),
    "metrics are always written": ("create_agent.debug_mode",),
    "the optimiser starts fresh; a teacher's weights are read, not its moments": (
        "ReloadedDQNAgent.reload_optimizer",
    ),
    "a teacher is not trained": ("TeacherDQNAgent.reload_optimizer",),
    "the teacher is scored where its return is not known": ("RunnerWithTeacher.evaluate_teacher",),
    "JaxDQNAgent.optimizer gives it": ("create_*optimizer.name",),
    "rrl's learning rate may always change": ("create_pretraining_optimizer.inject_hparams",),
    "the agent gives it": (
        "OutOfGraph*.observation_shape",
        "OutOfGraph*.observation_dtype",
        "OutOfGraph*.stack_size",
        "OutOfGraph*.update_horizon",
        "OutOfGraph*.gamma",
    ),
    "replay is Reverb's": (
        "OutOfGraph*.max_sample_attempts",
        "OutOfGraph*.checkpoint_duration",
        "OutOfGraph*.keep_every",
    ),
    "a run's folder is rrl's own": (
        "Runner*.checkpoint_file_prefix",
        "Runner.logging_file_prefix",
        "Runner.log_every_n",
        "Runner.use_legacy_logger",
        "Runner.fine_grained_print_to_console",
    ),
    "the released code makes its own runner": ("create_runner.schedule",),
    "--agent chooses the agent": ("create_agent.agent_name",),
}
"""Why a value has no part here -> gin names."""
