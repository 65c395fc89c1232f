"""The public agents, and how their files are named in their buckets.

    rl_checkpoints        DQN_400/<Game>/<run>/checkpoints/ckpt.399   Agarwal et al. 2022
    download-dopamine-rl  lucid/<agent>/<Game>/<run>/tf_ckpt-199.*    Such et al. 2018, Dopamine
    download-dopamine-rl  jax/<agent>/<Game>/<run>/ckpt.199           Dopamine's JAX agents

A run's files lie in its folder or in `checkpoints` below it; either is looked at for every agent.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Literal

from services.shared.errors import UserError

JAX_PREFIX = "jax-"
JAX_AGENTS = ("dqn", "dqn_adam_mse", "c51", "rainbow", "quantile", "implicit_quantile")
"""Those that are spoken of in public; any other folder of the bucket can be asked for, too."""

Kind = Literal["weights", "replay"]
"""The agent itself, its clocks and the mark that it is whole; or one column of its data."""

_NUMBER = "(?P<number>0|[1-9][0-9]{0,8})"
_WEIGHTS = re.compile(
    rf"(?:ckpt\.|sentinel_checkpoint_complete\.){_NUMBER}"
    rf"|tf_ckpt-{_NUMBER.replace('number', 'tensorflow')}"
    r"\.(?:index|meta|data-[0-9]{5}-of-[0-9]{5})"
)
_REPLAY = re.compile(
    r"(?:\$store\$_[a-z][a-z0-9_]{0,40}|add_count|invalid_range|episode_end_indices)"
    rf"_ckpt\.{_NUMBER}\.gz"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublicAgent:
    """One kind of agent that somebody published.

    Attributes:
        name: What users call it.
        bucket: Its bucket.
        prefix: Folder of its games, with a slash at the end.
    """

    name: str
    bucket: str
    prefix: str

    def run_folder(self, game: str, run: int) -> str:
        """Beginning of the names of all files of a run; the game as the bucket spells it."""
        return f"{self.prefix}{game}/{run}/"

    def directory(self, game: str, run: int) -> str:
        """Where a run is in the cache, and its name in the catalogue."""
        return f"{game}/{self.name}-run{run}"


_FIXED = {
    agent.name: agent
    for agent in (
        PublicAgent(name="dqn400", bucket="rl_checkpoints", prefix="DQN_400/"),
        *(
            PublicAgent(
                name=f"lucid-{kind}", bucket="download-dopamine-rl", prefix=f"lucid/{kind}/"
            )
            for kind in ("dqn", "c51", "rainbow", "iqn")
        ),
    )
}


def agent_names() -> tuple[str, ...]:
    """The agents known by name."""
    return (*_FIXED, *(f"{JAX_PREFIX}{kind}" for kind in JAX_AGENTS))


def public_agent(name: str) -> PublicAgent:
    """Find a published agent.

    Args:
        name: One of `agent_names()`, or `jax-` and another folder of the bucket.

    Raises:
        UserError: There is none of that name; tells the nearest.
    """
    if name in _FIXED:
        return _FIXED[name]
    kind = name.removeprefix(JAX_PREFIX)
    if kind != name and re.fullmatch("[a-z0-9][a-z0-9_]{0,60}", kind):
        return PublicAgent(name=name, bucket="download-dopamine-rl", prefix=f"jax/{kind}/")
    near = difflib.get_close_matches(name, agent_names(), n=3, cutoff=0.3) or agent_names()
    raise UserError(
        f"no public agent is called {name[:80]!r}; near it: {', '.join(near)}. All: "
        f"{', '.join(agent_names())}"
    )


def read_file_name(name: str) -> tuple[int, Kind] | None:
    """Dopamine's iteration and what a file is of, by its name; None for a name of no such file."""
    if match := _WEIGHTS.fullmatch(name):
        return int(match["number"] or match["tensorflow"]), "weights"
    if match := _REPLAY.fullmatch(name):
        return int(match["number"]), "replay"
    return None
