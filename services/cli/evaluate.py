"""`rrl evaluate AGENT`: its flags, and what it prints."""

from __future__ import annotations

import dataclasses

from rrl_agents.typed_json import encode
from services.cli.agent_flags import Played, parsed_with_agent
from services.cli.terminal import print_json, showing_progress
from services.launcher.evaluation import Evaluation, evaluate_agent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(Played):
    """Play whole episodes of an agent, and print its mean return with a 95% interval.

    The same flags give the same episode seeds, so two agents can be compared episode by episode.

    Attributes:
        episodes: Number of episodes.
        num_envs: Environments stepped in parallel.
        json: Print one JSON object instead of text.
    """

    episodes: int = 20
    num_envs: int = 10
    json: bool = False


def evaluate_main(arguments: list[str]) -> None:
    """Run `rrl evaluate`.

    Raises:
        UserError: bad input, or the agent cannot be played.
    """
    of_a_run = {"episodes": "final_episodes", "epsilon": "epsilon", "num_envs": "num_envs"}
    with (
        showing_progress("{:,.0f}".format) as progress,
        parsed_with_agent(Evaluate, arguments, "rrl evaluate", **of_a_run) as (agent, own),
    ):
        at, done = progress.begin("episodes", own.episodes, 0), 0

        def count() -> None:
            nonlocal done
            done += 1
            at(min(done, own.episodes))

        evaluation = evaluate_agent(
            agent,
            own.environment,
            episodes=own.episodes,
            epsilon=own.epsilon,
            num_envs=own.num_envs,
            first_seed=own.first_seed,
            on_episode=count,
        )
    if own.json:
        print_json(encode(evaluation))
        return
    print("\n".join(_lines(evaluation)))


def _lines(evaluation: Evaluation) -> list[str]:
    rules, (low, high) = evaluation.protocol, evaluation.interval
    known = evaluation.random_return
    # An environment without a limit has the largest whole number.
    limit = (
        f"at most {rules.max_episode_steps:,}"
        if rules.max_episode_steps < 10**12
        else "any number of"
    )
    last_seed = rules.first_seed + rules.episodes - 1
    return [
        f"agent     {evaluation.agent} {evaluation.parameters_sha256[:12]}",
        f"protocol  {rules.game} ({rules.environment}), {rules.episodes} episodes of seeds "
        f"{rules.first_seed} to {last_seed}, acting {rules.acts}, epsilon {rules.epsilon:g}, "
        f"sticky actions {rules.sticky_actions:g}, {rules.frames_per_step} frames a step, "
        f"{limit} steps an episode",
        f"return    {evaluation.mean_return:.2f} (95% interval {low:.2f} to {high:.2f}; "
        f"episodes {min(evaluation.returns):g} to {max(evaluation.returns):g})",
        *(f"{name:<9} {value:.4g}" for name, value in evaluation.metrics.items()),
        *([] if known is None else [f"random    {known:.2f} ({evaluation.random_source})"]),
    ]
