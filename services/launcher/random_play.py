"""The return of the uniformly random policy, the zero of every score: looked up, or measured once.

Measured returns are cached in CACHE/random_returns/, one file per environment, protocol and code
version, so that later runs need not measure them again. Seeds are fixed: the same code gives the
same numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import math
from pathlib import Path

import numpy as np

from rrl_agents.environments.registry import (
    EnvironmentConfig,
    known_random_return,
    make_environment,
    random_source,
    task_name,
)
from rrl_agents.typed_json import encode
from services.evaluator.episodes import play_episodes
from services.library.places import cache_directory
from services.shared.errors import UserError
from services.shared.run_records import read_record, write_record

EPISODES = 200
"""Episodes played to measure a return."""

MAX_STEPS = 2_000_000
"""Decisions after which measuring fails: such episodes do not end by themselves."""

_NUM_ENVS = 8
_SEED = 2022
_NOT_PLAYED = ("random_return", "clip_rewards", "stack_size", "grayscale", "resize")
"""Settings that the random policy's return does not depend on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomReturn:
    """The random policy's return on an environment.

    Attributes:
        mean: Undiscounted sum of raw rewards, mean over episodes.
        source: Origin of the number, in words.
    """

    mean: float
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Measured:
    """One file of the cache."""

    environment: str
    mean: float
    standard_error: float
    episodes: int
    seed: int


def random_return(config: EnvironmentConfig) -> RandomReturn:
    """The random policy's return: configured, known, cached, or measured now.

    Raises:
        ValueError: there is no such environment.
        UserError: its episodes do not end under random play.
    """
    known = known_random_return(config)
    if known is not None:
        return RandomReturn(mean=known, source=random_source(config))
    code = _code_of(config)
    file = cache_directory() / "random_returns" / f"{_key(config, code)}.json"
    measured = _kept(file)
    if measured is None:
        measured = _measure(config)
        _keep(file, measured)
    return RandomReturn(
        mean=measured.mean,
        source=f"measured here: {measured.episodes} episodes, seed {measured.seed}, standard error "
        f"{measured.standard_error:.2g}",
    )


def _code_of(config: EnvironmentConfig) -> str:
    """Identifies the version of an environment's code."""
    if config.name == "gymnasium":
        from rrl_agents.environments.gymnasium_tasks import code_of

        return code_of(config)
    module = config.environment.function.partition(":")[0]
    found = importlib.util.find_spec(module)
    source = b"" if found is None or found.origin is None else Path(found.origin).read_bytes()
    versions = [f"{module} {hashlib.sha256(source).hexdigest()}"]
    for package in ("gymnasium", "ale-py", "minatar"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(versions)


def _key(config: EnvironmentConfig, code: str) -> str:
    played = {name: value for name, value in encode(config).items() if name not in _NOT_PLAYED}
    content = json.dumps([played, code, EPISODES, _NUM_ENVS, _SEED], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _kept(file: Path) -> _Measured | None:
    try:
        return read_record(file, _Measured)
    except (UserError, OSError):
        # Damaged or unreadable: it is only a cache.
        return None


def _keep(file: Path, measured: _Measured) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_record(file, measured)
    except OSError as error:
        logging.getLogger(__name__).warning(
            "the random policy's return is not cached, and will be measured again: %s", error
        )


def _measure(config: EnvironmentConfig) -> _Measured:
    name, steps = task_name(config.name, config.game), 0
    logging.getLogger(__name__).warning(
        "the random policy's return on %s is unknown: playing %d episodes to measure it, once",
        name,
        EPISODES,
    )

    def count(more: int) -> None:
        nonlocal steps
        steps += more

    with contextlib.closing(make_environment(config, _NUM_ENVS)) as environment:
        scores = np.zeros((_NUM_ENVS, environment.spec.num_actions), np.float32)
        played = play_episodes(
            environment,
            lambda observations: scores,
            episodes=EPISODES,
            epsilon=1.0,
            seed=_SEED,
            should_stop=lambda: steps > MAX_STEPS,
            on_steps=count,
        )
    if played is None:
        raise UserError(
            f"{EPISODES} episodes of random play on {name} take more than {MAX_STEPS:,} decisions: "
            "give --environment.max-episode-steps, or --environment.random-return, the mean return "
            "of the random policy"
        )
    returns = np.asarray(played.returns)
    return _Measured(
        environment=name,
        mean=float(returns.mean()),
        standard_error=float(returns.std(ddof=1) / math.sqrt(len(returns))),
        episodes=len(returns),
        seed=_SEED,
    )
