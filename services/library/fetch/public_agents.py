"""The public agents: their buckets and file names.

    rl_checkpoints        DQN_400/<Game>/<run>/checkpoints/ckpt.399   Agarwal et al. 2022
    download-dopamine-rl  lucid/<agent>/<Game>/<run>/tf_ckpt-199.*    Such et al. 2018, Dopamine
    download-dopamine-rl  jax/<agent>/<Game>/<run>/ckpt.199           Dopamine's JAX agents

A run's files are in its folder or in its subfolder `checkpoints`; both are checked for every agent.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping

from rrl_agents.checkpoints.dopamine_replay.files import NEEDED
from rrl_agents.environments.game_names import name_key, nearest_names
from services.library.fetch.bucket import Bucket
from services.library.fetch.download import Files, RemoteFile
from services.shared.errors import UserError

JAX_PREFIX = "jax-"
JAX_AGENTS = ("dqn", "dqn_adam_mse", "c51", "rainbow", "quantile", "implicit_quantile")
"""The documented agents; any other folder of the bucket can be requested, too."""

_DOPAMINE = "download-dopamine-rl"

_NUMBER = "(0|[1-9][0-9]{0,8})"
_FILE = re.compile(
    rf"(?:ckpt\.|sentinel_checkpoint_complete\.){_NUMBER}"
    rf"|tf_ckpt-{_NUMBER}\.(?:index|meta|data-[0-9]{{5}}-of-[0-9]{{5}})"
    r"|(?:\$store\$_[a-z][a-z0-9_]{0,40}|add_count|invalid_range|episode_end_indices)"
    rf"_ckpt\.{_NUMBER}\.gz"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublicAgent:
    """A kind of published agent.

    Attributes:
        name: Name for users.
        bucket: Its bucket.
        prefix: Folder of its games, with a slash at the end.
    """

    name: str
    bucket: str
    prefix: str

    def run_folder(self, game: str, run: int) -> str:
        """Prefix of the names of a run's files; `game` is spelled as in the bucket."""
        return f"{self.prefix}{game}/{run}/"

    def directory(self, game: str, run: int) -> str:
        """Relative path of a run in the cache, and its name in the catalogue."""
        return f"{game}/{self.name}-run{run}"


_FIXED = {"dqn400": PublicAgent(name="dqn400", bucket="rl_checkpoints", prefix="DQN_400/")} | {
    f"lucid-{kind}": PublicAgent(name=f"lucid-{kind}", bucket=_DOPAMINE, prefix=f"lucid/{kind}/")
    for kind in ("dqn", "c51", "rainbow", "iqn")
}


def agent_names() -> tuple[str, ...]:
    """The agents known by name."""
    return (*_FIXED, *(f"{JAX_PREFIX}{kind}" for kind in JAX_AGENTS))


def public_agent(name: str) -> PublicAgent:
    """Find a published agent.

    Args:
        name: One of `agent_names()`, or `jax-` and a folder of the bucket.

    Raises:
        UserError: There is none of that name; lists similar names.
    """
    if name in _FIXED:
        return _FIXED[name]
    kind = name.removeprefix(JAX_PREFIX)
    if kind != name and re.fullmatch("[a-z0-9][a-z0-9_]{0,60}", kind):
        return PublicAgent(name=name, bucket=_DOPAMINE, prefix=f"jax/{kind}/")
    near = difflib.get_close_matches(name, agent_names(), n=3, cutoff=0.0)
    raise UserError(
        f"no public agent is called {name[:80]!r}; near it: {', '.join(near)}. All: "
        f"{', '.join(agent_names())}"
    )


def checkpoint_number(name: str) -> int | None:
    """Dopamine's iteration in a file's name; None for other files."""
    match = _FILE.fullmatch(name)
    return None if match is None else int(match[match.lastindex or 0])


_CHECKPOINTS = "checkpoints/"
_REPLAY = ".gz"
_SENTINEL = "sentinel_checkpoint_complete."


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteCheckpoint:
    """One checkpoint in a bucket.

    Attributes:
        number: Dopamine's iteration.
        files: Files of the agent and its data, in download order: those that mark a checkpoint as
            complete come last.
        needs_sentinel: Whether checkpoints of its run have sentinels; one without is incomplete.
    """

    number: int
    files: Files
    needs_sentinel: bool = False

    @property
    def weights(self) -> Files:
        """Files of the agent."""
        return {name: file for name, file in self.files.items() if not name.endswith(_REPLAY)}

    @property
    def replay(self) -> Files:
        """Files of its replay data."""
        return {name: file for name, file in self.files.items() if name.endswith(_REPLAY)}

    @property
    def is_whole(self) -> bool:
        """Whether the agent's files are complete."""
        if self.needs_sentinel and f"{_SENTINEL}{self.number}" not in self.files:
            return False
        return bool({f"ckpt.{self.number}", f"tf_ckpt-{self.number}.index"} & {*self.files})

    @property
    def has_replay(self) -> bool:
        """Whether its replay data has all columns that a reader needs."""
        return {f"{column}_ckpt.{self.number}.gz" for column in NEEDED} <= {*self.files}


def list_games(bucket: Bucket, agent: PublicAgent) -> list[str]:
    """Games of an agent, as spelled in the bucket; sorted.

    Raises:
        UserError: There are none.
    """
    found = bucket.folders(agent.prefix)
    games = sorted(name for name in found if re.fullmatch("[A-Za-z0-9]{1,64}", name))
    if not games:
        raise UserError(
            f"there is nothing of {agent.name} at {bucket.endpoint}/{bucket.name}/{agent.prefix}; "
            "check --agent and --endpoint"
        )
    return games


def list_runs(bucket: Bucket, agent: PublicAgent, game: str) -> list[int]:
    """Runs of a game; sorted."""
    found = bucket.folders(f"{agent.prefix}{game}/")
    return sorted(int(name) for name in found if re.fullmatch("[1-9][0-9]{0,4}", name))


def find_game(bucket: Bucket, agent: PublicAgent, game: str) -> str:
    """A game as spelled in the bucket.

    Args:
        bucket: The bucket.
        agent: The agent.
        game: The game in any spelling: "ms_pacman", "MsPacman".

    Raises:
        UserError: There is none; lists similar names.
    """
    games = list_games(bucket, agent)
    for found in games:
        if name_key(found) == name_key(game):
            return found
    raise UserError(
        f"there is no {agent.name} of {game[:80]!r}; the nearest names are "
        f"{nearest_names(game, games)}. --list shows all"
    )


def checkpoints_of(files: Files) -> dict[int, RemoteCheckpoint]:
    """The checkpoints among a run's files, by number, in order; other files are ignored.

    Args:
        files: Files by name in the run's folder.
    """
    found: dict[int, dict[str, RemoteFile]] = {}
    by_name = {path.removeprefix(_CHECKPOINTS): remote for path, remote in files.items()}
    for name in sorted(by_name, key=_completing_last):
        if (number := checkpoint_number(name)) is not None:
            found.setdefault(number, {})[name] = by_name[name]
    needs_sentinel = any(name.startswith(_SENTINEL) for name in by_name)
    return {
        number: RemoteCheckpoint(number=number, files=files, needs_sentinel=needs_sentinel)
        for number, files in sorted(found.items())
    }


def choose(
    checkpoints: Mapping[int, RemoteCheckpoint],
    number: int | None,
    of: str,
    *,
    with_replay: bool = False,
) -> RemoteCheckpoint:
    """Choose a checkpoint.

    Args:
        checkpoints: The available ones.
        number: Its number; None for the newest complete one.
        of: Name of their run, for the message.
        with_replay: Whether it must have replay data.

    Raises:
        UserError: It is missing or incomplete; lists complete ones.
    """
    whole = [
        found
        for found, checkpoint in checkpoints.items()
        if checkpoint.is_whole and checkpoint.has_replay >= with_replay
    ]
    wanted = max(whole, default=None) if number is None else number
    if wanted in whole:
        return checkpoints[wanted]
    shown = ", ".join(map(str, whole)) if len(whole) <= 12 else f"{whole[0]} to {whole[-1]}"
    raise UserError(
        f"{of}: no whole checkpoint{'' if number is None else f' {number}'}"
        f"{' with replay data' * with_replay}; there: {shown or 'none'}"
    )


def _completing_last(name: str) -> tuple[int, str]:
    """TensorFlow's index and the sentinel mark the rest as complete, so they come last."""
    return 2 * name.startswith(_SENTINEL) + name.endswith(".index"), name
