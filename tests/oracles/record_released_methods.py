"""Run the code released with Agarwal et al., 2022, and record what its methods do.

    git clone https://github.com/google-research/reincarnating_rl CHECKOUT
    python tests/oracles/record_released_methods.py CHECKOUT

writes `released_methods.json` beside this file; tests hold our recipes to it. The agents are the
released ones, with the numbers of the released gin files, a small replay and a teacher of random
values. Their clocks, phases and scores advance by their own methods; gradient steps are left out
where they change nothing that is recorded.

At its newest commit that code is in the middle of a rename (`persistence` to `reincarnation`), and
one module names arguments to `jax.jit` that its function lacks; JAX has since moved two functions.
`_with_both_names`, `_lenient_jit` and `_older_jax` mend exactly that, in this process only.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gin
import jax
import numpy as np
from gin import config_parser

FACTS = Path(__file__).with_name("released_methods.json")
PACKAGES = ("dopamine-rl", "gin-config", "jax", "flax", "optax", "numpy")
MILLION = 1_000_000
NUM_ACTIONS = 3
FRAME = np.zeros((84, 84), np.uint8)


class RandomTeacher:
    """Random action values; the agents ask it for no more than this."""

    eval_mode = True
    load_replay = True
    cumulative_gamma = 0.99

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._replay = FullReplay()
        self.actions = 0

    def get_q_values(self, states: Any) -> Any:
        return self._random.normal(size=(len(states), NUM_ACTIONS)).astype(np.float32)

    def get_action(self, state: Any) -> int:
        self.actions += 1
        return 0


class FullReplay:
    """A teacher's replay that holds enough to learn from."""

    add_count = MILLION


@contextlib.contextmanager
def _lenient_jit() -> Iterator[None]:
    """`jax.jit` that leaves out static arguments which the function does not have."""
    real = jax.jit

    def jit(function: Any, *, static_argnames: Any = (), **options: Any) -> Any:
        known = inspect.signature(function).parameters
        names = [name for name in static_argnames if name in known]
        return (
            real(function, static_argnames=names, **options) if names else real(function, **options)
        )

    jax.jit = jit
    try:
        yield
    finally:
        jax.jit = real


def _older_jax() -> None:
    """Names that JAX had when the code was released."""
    jax.tree_map = jax.tree.map
    jax.tree_flatten = jax.tree_util.tree_flatten


def _with_both_names(agent_class: type) -> type:
    """The agent with the names of before and after the rename for the same thing."""

    def alias(present: str) -> property:
        return property(
            lambda self: getattr(self, present), lambda self, value: setattr(self, present, value)
        )

    members: dict[str, Any] = {
        "_persistent_phase": alias("_reincarnation_phase"),
        "persistence_target_update_period": alias("reincarnation_target_update_period"),
        "_num_updates_per_persistent_step": alias("_num_updates_per_reincarnation_step"),
    }
    if "_persistence_step" in vars(agent_class):
        members["_reincarnation_step"] = lambda self: self._persistence_step()
    else:
        members["_persistence_step"] = lambda self: self._reincarnation_step()
    return type(agent_class.__name__, (agent_class,), members)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("checkout", type=Path, help="of google-research/reincarnating_rl")
    parser.add_argument("--commit", help="its commit; asked from git where it is not given")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.checkout))
    _older_jax()
    with _lenient_jit():
        facts = {
            "source": "https://github.com/google-research/reincarnating_rl",
            "commit": arguments.commit or _commit(arguments.checkout),
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
            "files": _files(arguments.checkout),
            "defaults": _defaults(),
            **_behaviour(arguments.checkout),
        }
    FACTS.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"wrote {FACTS}")


_Raw = argparse.RawDescriptionHelpFormatter


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# The gin files.


def _configs(checkout: Path) -> dict[str, str]:
    folder = checkout / "reincarnating_rl" / "configs"
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.gin"))}


class _AsText(config_parser.ParserDelegate):
    def configurable_reference(self, scoped_name: str, evaluate: bool) -> str:
        return f"@{scoped_name}"

    def macro(self, scoped_name: str) -> str:
        return f"%{scoped_name}"


def _files(checkout: Path) -> dict[str, dict[str, object]]:
    """Every binding of every file, as gin's parser reads it; references as "@name"."""
    files = {}
    for name, text in _configs(checkout).items():
        statements = config_parser.ConfigParser(text, _AsText())
        files[name] = {
            f"{statement.selector}.{statement.arg_name}": statement.value
            for statement in statements
            if isinstance(statement, config_parser.BindingStatement)
        }
    return files


def _defaults() -> dict[str, object]:
    """Defaults of what the files bind, as the code that they configure has them."""
    from dopamine.jax.agents.dqn import dqn_agent
    from dopamine.jax.agents.full_rainbow import full_rainbow_agent
    from reincarnating_rl import (
        dqfd_dqn_agent,
        jsrl_dqn_agent,
        loss_helpers,
        pretrained_dqn_agent,
        qdagger_dqn_agent,
        qdagger_rainbow_agent,
    )

    configurables = {
        "JaxDQNAgent": dqn_agent.JaxDQNAgent,
        "JaxFullRainbowAgent": full_rainbow_agent.JaxFullRainbowAgent,
        "QDaggerDQNAgent": qdagger_dqn_agent.QDaggerDQNAgent,
        "QDaggerRainbowAgent": qdagger_rainbow_agent.QDaggerRainbowAgent,
        "DQfDAgent": dqfd_dqn_agent.DQfDAgent,
        "PretrainedDQNAgent": pretrained_dqn_agent.PretrainedDQNAgent,
        "JSRLAgent": jsrl_dqn_agent.JSRLAgent,
        "create_optimizer": dqn_agent.create_optimizer,
        "create_pretraining_optimizer": loss_helpers.create_pretraining_optimizer,
    }
    return {
        f"{name}.{parameter.name}": parameter.default
        for name, configurable in configurables.items()
        for parameter in inspect.signature(configurable).parameters.values()
        if isinstance(parameter.default, bool | int | float | str)
    }


def _bind(text: str, *more: str) -> None:
    """Bind a file's numbers, under the names that the code has now; with a small replay."""
    text = re.sub(r"^import .*$", "", text, flags=re.MULTILINE)
    text = text.replace(
        "ReincarnationDQNAgent.num_updates_per_persistent_step",
        "ReincarnationDQNAgent.num_updates_per_reincarnation_step",
    ).replace("persistence_linearly_decaying", "reincarnation_linearly_decaying")
    gin.clear_config()
    gin.parse_config([*text.splitlines(), *more], skip_unknown=False)
    for buffer in ("OutOfGraphReplayBuffer", "OutOfGraphPrioritizedReplayBuffer"):
        gin.parse_config([f"{buffer}.replay_capacity = 200", f"{buffer}.batch_size = 4"])


# The agents.


def _behaviour(checkout: Path) -> dict[str, object]:
    import dopamine.discrete_domains.run_experiment  # noqa: F401  (registers its names with gin)
    from reincarnating_rl import (
        dqfd_dqn_agent,
        jsrl_dqn_agent,
        pretrained_dqn_agent,
        qdagger_dqn_agent,
        qdagger_rainbow_agent,
        reloaded_dqn_agent,
        run_experiment,  # noqa: F401
        teacher_dqn_agent,  # noqa: F401
    )

    texts = _configs(checkout)
    classes = {
        "qdagger_dqn": qdagger_dqn_agent.QDaggerDQNAgent,
        "kickstarting_dqn": qdagger_dqn_agent.QDaggerDQNAgent,
        "qdagger_rainbow": qdagger_rainbow_agent.QDaggerRainbowAgent,
        "qdagger_drq": qdagger_rainbow_agent.QDaggerRainbowAgent,
        "dqfd_dqn": dqfd_dqn_agent.DQfDAgent,
        "pretrained_dqn": pretrained_dqn_agent.PretrainedDQNAgent,
        "jsrl_dqn": jsrl_dqn_agent.JSRLAgent,
        "reloaded_dqn": reloaded_dqn_agent.ReloadedDQNAgent,
    }

    def made(name: str, *bindings: str, **arguments: Any) -> Any:
        _bind(texts[name], *bindings)
        agent = _with_both_names(classes[name])(num_actions=NUM_ACTIONS, seed=0, **arguments)
        if name != "reloaded_dqn":
            agent._reincarnation_phase = False
        agent.set_teacher(RandomTeacher(), teacher_steps=0)
        return agent

    methods = qdagger_rainbow_agent.MethodType
    rainbow = functools.partial(made, "qdagger_rainbow")
    return {
        "epsilon": {name: _epsilon(made(name)) for name in classes if name != "reloaded_dqn"}
        | {
            "reloaded_dqn": _epsilon_of_reloaded(made("reloaded_dqn")),
            "noisy_rainbow": _epsilon(rainbow("JaxFullRainbowAgent.noisy = True")),
        },
        "weaning": {
            name: _weaning(made(name)) for name in ("qdagger_dqn", "qdagger_rainbow", "dqfd_dqn")
        }
        | {"qdagger_dqn_that_matches": _weaning(made("qdagger_dqn"), scores=(0.5, 1.2, 0.5))}
        | {
            "ql_dagger": _weaning(rainbow(method_type=methods.QL_PLUS_DAGGER)),
            "dagger": _weaning(rainbow(method_type=methods.DAGGER)),
        },
        "td_coefficient": {
            "qdagger": rainbow()._td_coefficient,
            "ql_dagger": rainbow(method_type=methods.QL_PLUS_DAGGER)._td_coefficient,
            "dagger": rainbow(method_type=methods.DAGGER)._td_coefficient,
        },
        "dqfd_factor": _dqfd_factor(made("dqfd_dqn"), dqfd_dqn_agent),
        # The file switches the roll-in off.
        "jsrl": _jsrl(made("jsrl_dqn", "JSRLAgent.roll_in_guide = True")),
        "pretrained_optimisers": _pretrained(made("pretrained_dqn")),
    }


def _offline_updates() -> int:
    try:
        iterations = gin.query_parameter("RunnerWithTeacher.num_pretraining_iterations")
        return int(iterations * gin.query_parameter("RunnerWithTeacher.num_pretraining_steps"))
    except ValueError:
        return 0


def _pass_offline_phase(agent: Any) -> int:
    """Advance the agent by its own steps through the file's offline phase, without gradients."""
    updates = _offline_updates()
    if updates > 0:
        agent._reincarnation_step = agent._persistence_step = lambda: None
        agent.set_phase(True)
        for _ in range(updates):
            agent._train_step()
    agent.set_phase(False)
    return updates


def _epsilon_now(agent: Any) -> float:
    """As the agents' own `select_action` asks for it."""
    arguments = (agent.epsilon_decay_period, agent.training_steps, agent.min_replay_history)
    return round(float(agent.epsilon_fn(*arguments, agent.epsilon_train)), 6)


def _epsilon(agent: Any) -> dict[str, Any]:
    """Epsilon at online steps, as the agent's own clock counts them."""
    updates = _pass_offline_phase(agent)
    at, values = (0, 1_000, 10_000, 25_000, 50_000, 60_000), []
    played = 0
    for steps in at:
        for _ in range(steps - played):
            agent._train_step()
        played = steps
        values.append(_epsilon_now(agent))
    clock = agent.training_steps - played
    return {"offline_updates": updates, "clock_at_0": clock, "online_steps": at, "epsilon": values}


def _epsilon_of_reloaded(agent: Any) -> dict[str, Any]:
    """Epsilon with the clock of a teacher that has played 100 of Dopamine's iterations."""
    from flax import core

    params = core.freeze(agent.online_params)
    steps = 100 * 250_000
    agent.reload_checkpoint(
        {"training_steps": steps, "online_params": params, "target_params": params}
    )
    return {
        "clock_at_0": agent.training_steps,
        "online_steps": [0],
        "epsilon": [_epsilon_now(agent)],
    }


SCORES = (-0.2, 0.0, 0.25, 0.5, 0.25, 0.75, 0.75, 0.5, 0.5, 0.5, 0.5)


def _weaning(agent: Any, scores: tuple[float, ...] = SCORES) -> dict[str, Any]:
    """Lambda and learning rate at the start of the online phase, then after each iteration."""
    _pass_offline_phase(agent)
    steps = int(gin.query_parameter("Runner.training_steps"))
    rows = [(0, None, *_lambda_and_rate(agent))]
    for iteration, score in enumerate(scores, start=1):
        for _ in range(steps):
            agent._train_step()
        agent.record_score(score)
        rows.append((iteration * steps, score, *_lambda_and_rate(agent)))
    return {"columns": ["online_steps", "score", "lambda", "learning_rate"], "rows": rows}


def _lambda_and_rate(agent: Any) -> tuple[float, float]:
    rate = float(agent.optimizer_state.hyperparams["learning_rate"])
    return float(agent.loss_decay), float(f"{rate:.6g}")


def _dqfd_factor(agent: Any, module: Any) -> dict[str, Any]:
    """What stands before the margin loss in the loss of a real update, at several lambdas."""
    random = np.random.default_rng(0)
    for _ in range(50):
        frame = random.integers(0, 256, (84, 84), dtype=np.uint8)
        agent._replay.add(frame, int(random.integers(NUM_ACTIONS)), float(random.normal()), 0)
    agent._sample_from_replay_buffer()
    real, outputs = module.train_fn, []

    def recorded(*arguments: Any, **named: Any) -> Any:
        outputs.append(real(*arguments, **named))
        return outputs[-1]

    module.train_fn = recorded
    lambdas = (1.0, 0.5, 0.25)
    for loss_decay in lambdas:
        agent.loss_decay = loss_decay
        # As `training_step` calls it.
        agent.min_replay_history, agent.training_steps = 0, 0
        agent.training_step()
    module.train_fn = real
    factors = []
    for _, _, overall, (td, margin, *_), _ in outputs:
        factors.append(round(float((overall - td) / margin), 4))
    return {"lambda": lambdas, "factor": factors}


def _jsrl(agent: Any) -> dict[str, Any]:
    """How many steps the teacher plays, how K shrinks, and the teacher's share afterwards."""
    agent.set_phase(False)
    agent.roll_out_guide_prob = 0.0
    agent.max_roll_in_steps = 3
    seen: dict[int, int] = {}
    np.random.seed(0)
    for _ in range(300):
        agent.teacher_agent.actions = 0
        agent.begin_episode(FRAME)
        for _ in range(4):
            agent.step(0.0, FRAME)
        seen[agent.teacher_agent.actions] = seen.get(agent.teacher_agent.actions, 0) + 1
    agent.max_roll_in_steps = int(gin.query_parameter("JSRLAgent.max_roll_in_steps"))
    horizons = [agent.max_roll_in_steps]
    while horizons[-1] > 0:
        agent.record_score(0.5)
        horizons.append(agent.max_roll_in_steps)
    try:
        agent.begin_episode(FRAME)
        at_0 = "plays"
    except ValueError as error:
        at_0 = f"ValueError: {error}"
    share = gin.query_parameter("JSRLAgent.roll_out_guide_prob")
    steps = (0, 625_000, 1_250_000, 2_500_000, 3_000_000)
    period = agent.roll_out_decay_period
    shares = [share * float(agent.roll_out_decay_fn(period, step, None, 0.0)) for step in steps]
    return {
        "teachers_steps_at_K_3": {str(steps): seen[steps] for steps in sorted(seen)},
        "K_per_iteration": horizons,
        "K_0": at_0,
        "roll_out": {"steps": steps, "share": [round(share, 6) for share in shares]},
    }


def _pretrained(agent: Any) -> dict[str, Any]:
    """Learning rates of its two optimisers, and whether the second starts without moments."""
    rate = float(agent.pretraining_optimizer_state.hyperparams["learning_rate"])
    moments = jax.tree.leaves(agent.optimizer_state)
    agent.optimizer_state = jax.tree.map(lambda leaf: leaf + 1, agent.optimizer_state)
    agent.set_phase(True)
    agent.set_phase(False)
    after = jax.tree.leaves(agent.optimizer_state)
    fresh = all(bool((a == b).all()) for a, b in zip(moments, after, strict=True))
    return {"offline_learning_rate": float(f"{rate:.6g}"), "fresh_optimiser_online": fresh}


if __name__ == "__main__":
    main()
