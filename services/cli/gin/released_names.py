"""What gin may bind of the code released with Agarwal et al., 2022 (arXiv:2206.01626).

github.com/google-research/reincarnating_rl, names and defaults of its present generation; those of
the generation before, which its README still uses in places, are other names of the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.cli.gin.parameters import (
    EACH_UPDATE,
    LOGGING,
    PREPROCESSING,
    SEED,
    Configurable,
    fixed,
    idle,
    used,
)
from services.cli.gin.parsing import Reference

_PACKAGE = "reincarnating_rl"
_NETWORKS = (f"{_PACKAGE}.reincarnation_networks", f"{_PACKAGE}.persistence_networks")
_IMPALA = (*_NETWORKS, f"{_PACKAGE}.impala_networks")
_LOSS_HELPERS = (f"{_PACKAGE}.loss_helpers",)
_RUNNERS = (f"{_PACKAGE}.run_experiment",)

_EPSILON = Reference(name="reincarnation_linearly_decaying_epsilon")
_AGENT = LOGGING | SEED


def _modules(*names: str) -> tuple[str, ...]:
    return tuple(f"{_PACKAGE}.{name}" for name in names)


RELEASED: Mapping[str, Configurable] = {
    "ReincarnationDQNAgent": Configurable(
        modules=_modules("reincarnation_dqn_agent", "persistent_dqn_agent"),
        parameters=used(
            network=Reference(name="JAXDQNNetworkWithRepresentations"),
            epsilon_fn=_EPSILON,
            data_augmentation=False,
        )
        | fixed(EACH_UPDATE, num_updates_per_reincarnation_step=1)
        | PREPROCESSING
        | _AGENT,
    ),
    "ReincarnationRainbowAgent": Configurable(
        modules=_modules("reincarnation_rainbow_agent", "persistent_rainbow_agent"),
        parameters=used(network=Reference(name="FullRainbowNetwork"), data_augmentation=False)
        | fixed(EACH_UPDATE, num_updates_per_reincarnation_step=1)
        | _AGENT,
    ),
    "QDaggerDQNAgent": Configurable(
        modules=_modules("qdagger_dqn_agent", "distillation_dqn_agent"),
        parameters=used(
            distill_loss_coefficient=1.0,
            distill_best_action_only=False,
            distill_type=1,
            distill_decay_period=-1,
            distill_temperature=1.0,
        )
        | _AGENT,
    ),
    "QDaggerRainbowAgent": Configurable(
        modules=_modules("qdagger_rainbow_agent", "distillation_rainbow_agent"),
        parameters=used(
            distill_loss_coefficient=1.0,
            distill_best_action_only=False,
            distill_decay_period=-1,
            distill_temperature=1.0,
            method_type=1,
        )
        | _AGENT,
    ),
    "DQfDAgent": Configurable(
        modules=_modules("dqfd_dqn_agent", "margin_dqn_agent"),
        parameters=used(
            margin=0.8,
            margin_coefficient=1.0,
            dqfd_margin=False,
            decay_period=0,
            use_teacher_actions=False,
        )
        | fixed("DQfD's learning rate stays as it is", lr_decay=False)
        | _AGENT,
    ),
    "JSRLAgent": Configurable(
        modules=_modules("jsrl_dqn_agent", "lols_dqn_agent"),
        parameters=used(
            roll_in_guide=True,
            max_roll_in_steps=1_000,
            decay_roll_in_steps=0.8,
            roll_out_guide_prob=0.0,
            roll_out_decay_period=250_000,
            roll_out_decay_fn=_EPSILON,
        )
        | _AGENT,
    ),
    "PretrainedDQNAgent": Configurable(
        modules=_modules("pretrained_dqn_agent"),
        parameters=used(teacher_data_ratio=0.0, cql_coefficient=1.0, distill_temperature=1.0)
        | fixed("the TD term counts as it is", td_loss_coefficient=1.0)
        | fixed("the teacher's data is drawn uniformly", teacher_replay_scheme="uniform")
        | PREPROCESSING
        | _AGENT,
    ),
    "ReloadedDQNAgent": Configurable(
        modules=_modules("reloaded_dqn_agent"),
        parameters=used(load_replay=True, data_augmentation=False)
        | fixed(EACH_UPDATE, num_updates_per_train_step=1)
        | idle(
            "the optimiser begins anew; a teacher's weights are read, not its moments",
            ("reload_optimizer",),
        )
        | PREPROCESSING
        | _AGENT,
    ),
    "TeacherDQNAgent": Configurable(
        modules=_modules("teacher_dqn_agent"),
        parameters=used(load_replay=True, update_horizon=1)
        | idle("a teacher is not trained", ("reload_optimizer",))
        | _AGENT,
    ),
    "RunnerWithTeacher": Configurable(
        modules=_RUNNERS,
        parameters=used(
            num_pretraining_iterations=1, num_pretraining_steps=100_000, teacher_steps=100_000
        )
        | fixed("runs end with play of the student's own", use_offline_samples_only=False)
        | idle("the teacher is scored where its return is not known", ("evaluate_teacher",))
        | idle("a run's folder is rrl's own", ("checkpoint_file_prefix",)),
    ),
    "create_linear_schedule": Configurable(
        modules=_LOSS_HELPERS, parameters=used(initial_lr=1e-4, final_lr=1e-5)
    ),
    "create_pretraining_optimizer": Configurable(
        modules=_LOSS_HELPERS,
        parameters=used(learning_rate=6.25e-5, beta1=0.9, beta2=0.999, eps=1.5e-4, centered=False)
        | idle("JaxDQNAgent.optimizer gives it", ("name",))
        | idle("rrl's learning rate may always change", ("inject_hparams",)),
    ),
    "ImpalaEncoder": Configurable(
        modules=_IMPALA,
        parameters=used(nn_scale=1, stack_sizes=(16, 32, 32))
        | fixed("each stack has two residual blocks", num_blocks=2),
    ),
    "get_all_checkpoint_numbers": Configurable(
        modules=_RUNNERS,
        parameters=idle("a run is resumed from its own checkpoints", ("sentinel_file_identifier",)),
    ),
}
"""Class or function -> how it is taken."""

OLDER_NAMES: Mapping[str, str] = {
    "PersistentDQNAgent": "ReincarnationDQNAgent",
    "PersistentRainbowAgent": "ReincarnationRainbowAgent",
    "DistillationDQNAgent": "QDaggerDQNAgent",
    "DistillationRainbowAgent": "QDaggerRainbowAgent",
    "MarginDQNAgent": "DQfDAgent",
    "LOLSDQNAgent": "JSRLAgent",
    "PersistentRunner": "RunnerWithTeacher",
    "OfflinePretrainingRunner": "RunnerWithTeacher",
    # A part of the same runner, not an older name of it.
    "ReincarnationRunner": "RunnerWithTeacher",
    "create_persistence_optimizer": "create_pretraining_optimizer",
    "persistence_linearly_decaying_epsilon": "reincarnation_linearly_decaying_epsilon",
}
"""Other names of classes and functions."""

OLDER_PARAMETERS: Mapping[str, str] = {
    "num_persistence_iterations": "num_pretraining_iterations",
    "num_persistence_steps": "num_pretraining_steps",
    "num_updates_per_persistent_step": "num_updates_per_reincarnation_step",
}
"""Other names of parameters."""

RELEASED_NETWORKS: Mapping[str, tuple[str, ...]] = {
    "JAXDQNNetworkWithRepresentations": _IMPALA,
    "ImpalaNetworkWithRepresentations": _IMPALA,
    "ImpalaRainbowNetwork": _IMPALA,
    # The released code hands Dopamine's on.
    "FullRainbowNetwork": _NETWORKS,
}
"""Networks that a reference may name -> modules."""

RELEASED_EPSILONS: Mapping[str, tuple[str, ...]] = {
    "reincarnation_linearly_decaying_epsilon": _LOSS_HELPERS
}
"""Exploration schedules that a reference may name -> modules."""
