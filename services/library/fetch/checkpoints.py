"""What a bucket holds of an agent: its games, the runs of a game, the checkpoints of a run."""

from __future__ import annotations

import dataclasses
import re

from rrl_agents.environments.game_names import name_key, nearest_names
from services.library.fetch.agents import Kind, PublicAgent, read_file_name
from services.library.fetch.bucket import Bucket
from services.library.fetch.download import Files, RemoteFile
from services.shared.errors import UserError

_CHECKPOINTS = "checkpoints/"
_SENTINEL = "sentinel_checkpoint_complete."
_REPLAY_COLUMNS = (
    "$store$_observation",
    "$store$_action",
    "$store$_reward",
    "$store$_terminal",
    "add_count",
    "invalid_range",
)
"""Without one of these the data cannot be read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteCheckpoint:
    """One checkpoint in a bucket.

    Attributes:
        number: Dopamine's iteration.
        weights: The agent itself.
        replay: Columns of its data.
        needs_sentinel: Whether checkpoints of its run have sentinels: one without is interrupted.
    """

    number: int
    weights: Files
    replay: Files
    needs_sentinel: bool = False

    def files(self, *, with_replay: bool) -> Files:
        """The files to fetch, in this order: what makes a checkpoint count as whole comes last."""
        names = sorted(self.weights, key=_completing_last)
        weights = {name: self.weights[name] for name in names}
        return {**self.replay, **weights} if with_replay else weights

    @property
    def is_whole(self) -> bool:
        """Whether the agent itself is there."""
        if self.needs_sentinel and f"{_SENTINEL}{self.number}" not in self.weights:
            return False
        return bool({f"ckpt.{self.number}", f"tf_ckpt-{self.number}.index"} & {*self.weights})

    @property
    def has_replay(self) -> bool:
        """Whether its data is there, with all columns that a reader needs."""
        return {f"{column}_ckpt.{self.number}.gz" for column in _REPLAY_COLUMNS} <= {*self.replay}


def list_games(bucket: Bucket, agent: PublicAgent) -> list[str]:
    """Games of an agent, as the bucket spells them; sorted."""
    found = bucket.folders(agent.prefix)
    return sorted(name for name in found if re.fullmatch("[A-Za-z0-9]{1,64}", name))


def list_runs(bucket: Bucket, agent: PublicAgent, game: str) -> list[int]:
    """Runs of a game; sorted."""
    found = bucket.folders(f"{agent.prefix}{game}/")
    return sorted(int(name) for name in found if re.fullmatch("[1-9][0-9]{0,4}", name))


def find_game(bucket: Bucket, agent: PublicAgent, game: str) -> str:
    """A game as the bucket spells it.

    Args:
        bucket: Where to look.
        agent: Whose games.
        game: In any spelling: "ms_pacman", "MsPacman".

    Raises:
        UserError: There is none; names the nearest.
    """
    games = list_games(bucket, agent)
    for found in games:
        if name_key(found) == name_key(game):
            return found
    if not games:
        raise UserError(
            f"there is nothing of {agent.name} at {bucket.endpoint}/{bucket.name}/{agent.prefix}; "
            "check --agent and --endpoint"
        )
    raise UserError(
        f"there is no {agent.name} of {game[:80]!r}; the nearest names are "
        f"{nearest_names(game, games)}. --list shows all"
    )


def list_checkpoints(
    bucket: Bucket, agent: PublicAgent, game: str, run: int
) -> dict[int, RemoteCheckpoint]:
    """Checkpoints of a run, by number, in order.

    Args:
        bucket: Where they are.
        agent: Whose.
        game: As the bucket spells it.
        run: Which run.

    Raises:
        UserError: The store answers nonsense.
    """
    return checkpoints_of(bucket.objects(agent.run_folder(game, run)))


def checkpoints_of(files: Files) -> dict[int, RemoteCheckpoint]:
    """Checkpoints by number, in order, of the files of a run; other files are left out.

    Args:
        files: By their names below the run's folder.
    """
    found: dict[int, dict[Kind, dict[str, RemoteFile]]] = {}
    for path, remote in files.items():
        name = path.removeprefix(_CHECKPOINTS)
        if (read := read_file_name(name)) is not None:
            number, kind = read
            found.setdefault(number, {"weights": {}, "replay": {}})[kind][name] = remote
    names = [name for kinds in found.values() for name in kinds["weights"]]
    needs_sentinel = any(name.startswith(_SENTINEL) for name in names)
    return {
        number: RemoteCheckpoint(number=number, needs_sentinel=needs_sentinel, **kinds)
        for number, kinds in sorted(found.items())
        if kinds["weights"]
    }


def _completing_last(name: str) -> tuple[int, str]:
    """TensorFlow's index and the sentinel say that the rest is there, so they come after it."""
    if name.startswith(_SENTINEL):
        return 2, name
    return int(name.endswith(".index")), name
