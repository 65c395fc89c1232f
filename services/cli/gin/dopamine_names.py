"""What gin may bind of Dopamine 4.0, beneath the released code: names, defaults, meaning here."""

from __future__ import annotations

from collections.abc import Mapping

from services.cli.gin.parameters import (
    EACH_UPDATE,
    EITHER_NETWORK,
    LOGGING,
    PREPROCESSING,
    SEED,
    Configurable,
    fixed,
    idle,
    used,
)
from services.cli.gin.parsing import Reference

_FRAMES = "rrl shows Atari as Dopamine does: 84 x 84 uint8, every 4th frame, 4 stacked"
_BUFFER_OF_AGENT = "the agent gives it"
_TWO_AGENTS = "--agent chooses the agent"

_REPLAY_BUFFER = (
    used(replay_capacity=1_000_000, batch_size=32)
    | idle(
        _BUFFER_OF_AGENT,
        ("observation_shape", "stack_size", "update_horizon", "gamma", "observation_dtype"),
    )
    | idle("replay is Reverb's", ("max_sample_attempts", "checkpoint_duration", "keep_every"))
    | fixed("items hold what Q-learning needs", extra_storage_types=None)
)

DOPAMINE: Mapping[str, Configurable] = {
    "JaxDQNAgent": Configurable(
        modules=("dopamine.jax.agents.dqn.dqn_agent",),
        parameters=used(
            gamma=0.99,
            update_horizon=1,
            min_replay_history=20_000,
            update_period=4,
            target_update_period=8_000,
            epsilon_train=0.01,
            epsilon_eval=0.001,
            epsilon_decay_period=250_000,
            loss_type=None,
            optimizer="adam",
        )
        | fixed(_FRAMES, observation_shape=(84, 84), observation_dtype=None, stack_size=4)
        | fixed("training and evaluation are separate processes", eval_mode=False)
        | idle(
            "in the released code it is the teacher's, which rrl reads from the checkpoint; the "
            "student's is ReincarnationDQNAgent.network",
            ("network",),
        )
        | idle("the released code's agents give their own", ("epsilon_fn",))
        | idle("a run is resumed from its own checkpoints", ("allow_partial_reload",))
        | LOGGING
        | SEED
        | PREPROCESSING,
    ),
    "JaxFullRainbowAgent": Configurable(
        modules=("dopamine.jax.agents.full_rainbow.full_rainbow_agent",),
        parameters=used(
            noisy=True,
            dueling=True,
            double_dqn=True,
            distributional=True,
            num_atoms=51,
            vmax=10.0,
            vmin=None,
            replay_scheme="prioritized",
            epsilon_fn=Reference(name="linearly_decaying_epsilon"),
        )
        | fixed("the released code's loss is Huber's", mse_loss=False)
        | fixed(EACH_UPDATE, num_updates_per_train_step=1)
        | fixed(EITHER_NETWORK.format(agent="ReincarnationRainbowAgent"), network=None)
        | LOGGING
        | SEED
        | PREPROCESSING,
    ),
    "Atari100kRainbowAgent": Configurable(
        modules=("dopamine.labs.atari_100k.atari_100k_rainbow_agent",),
        parameters=fixed(
            "the released code does not read it for these agents: bind "
            "ReincarnationRainbowAgent.data_augmentation",
            data_augmentation=False,
        )
        | fixed("the released code's loss is Huber's", mse_loss=False)
        | fixed(EITHER_NETWORK.format(agent="ReincarnationRainbowAgent"), network=None)
        | LOGGING
        | SEED,
    ),
    "create_optimizer": Configurable(
        modules=("dopamine.jax.agents.dqn.dqn_agent",),
        parameters=used(learning_rate=6.25e-5, beta1=0.9, beta2=0.999, eps=1.5e-4, centered=False)
        | idle("JaxDQNAgent.optimizer gives it", ("name",)),
    ),
    "create_atari_environment": Configurable(
        modules=("dopamine.discrete_domains.atari_lib",),
        parameters=used(game_name=None, sticky_actions=True),
    ),
    "AtariPreprocessing": Configurable(
        modules=("dopamine.discrete_domains.atari_lib",),
        parameters=fixed(_FRAMES, frame_skip=4, screen_size=84)
        | fixed("an episode ends with the game", terminal_on_life_loss=False),
    ),
    "Runner": Configurable(
        modules=("dopamine.discrete_domains.run_experiment",),
        parameters=used(
            num_iterations=200,
            training_steps=250_000,
            evaluation_steps=125_000,
            max_steps_per_episode=27_000,
        )
        | fixed("rewards are clipped in training, as there", clip_rewards=True)
        | idle(
            "a run's folder is rrl's own",
            (
                "checkpoint_file_prefix",
                "logging_file_prefix",
                "log_every_n",
                "use_legacy_logger",
                "fine_grained_print_to_console",
            ),
        ),
    ),
    "create_runner": Configurable(
        modules=("dopamine.discrete_domains.run_experiment",),
        parameters=idle("the released code makes its own runner", ("schedule",)),
    ),
    "create_agent": Configurable(
        modules=("dopamine.discrete_domains.run_experiment",),
        parameters=idle(_TWO_AGENTS, ("agent_name",))
        | idle("metrics are always written", ("debug_mode",)),
    ),
    "OutOfGraphReplayBuffer": Configurable(
        modules=("dopamine.replay_memory.circular_replay_buffer",), parameters=_REPLAY_BUFFER
    ),
    "OutOfGraphPrioritizedReplayBuffer": Configurable(
        modules=("dopamine.replay_memory.prioritized_replay_buffer",), parameters=_REPLAY_BUFFER
    ),
}
"""Class or function -> how it is taken."""

DOPAMINE_NETWORKS: Mapping[str, tuple[str, ...]] = {
    "NatureDQNNetwork": ("dopamine.jax.networks",),
    "FullRainbowNetwork": ("dopamine.jax.networks",),
}
"""Networks that a reference may name -> modules."""

DOPAMINE_EPSILONS: Mapping[str, tuple[str, ...]] = {
    "linearly_decaying_epsilon": ("dopamine.jax.agents.dqn.dqn_agent",),
    "identity_epsilon": ("dopamine.jax.agents.dqn.dqn_agent",),
}
"""Exploration schedules that a reference may name -> modules."""
