"""Commands that play an AGENT: the flags default to what the agent records about itself."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, cast

import tyro

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_client.channel import parse_addresses
from services.cli.flag_types import FLAG_TYPES
from services.cli.peers import Peers
from services.launcher.agents import Agent, is_address, opened_agent
from services.shared.errors import UserError, user_errors

CommandT = TypeVar("CommandT")

_AGENT = (
    "AGENT is the folder of a run, RUN/checkpoints/NUMBER, a teacher (a name of `rrl teacher "
    "list`, a path, a URL, module:factory, ensemble:RULE:A,B), or HOST:PORT of a teacher service"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Played:
    """Flags shared by the commands that play an agent.

    Attributes:
        environment: The environment to play and its rules; by default the agent's own.
        epsilon: Probability of a random action, 0 to 1.
        first_seed: Seed of the first episode; each further episode adds 1.
        peers: TLS and credentials for a service at HOST:PORT.
    """

    environment: EnvironmentConfig = EnvironmentConfig()
    epsilon: float = 0.001
    first_seed: int = 0
    peers: Peers = Peers()


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The flags that are needed to open an agent."""

    peers: Peers = Peers()


@contextlib.contextmanager
def parsed_with_agent(
    command: type[CommandT], arguments: Sequence[str], prog: str, **of_a_run: str
) -> Iterator[tuple[Agent, CommandT]]:
    """Read AGENT and the flags; the agent stays open until the block ends.

    Args:
        command: A subclass of `Played` with a default for each field; its docstring is the help.
        arguments: The command line after the command.
        prog: The command, e.g. "rrl evaluate".
        of_a_run: Field of the command -> field of the run's protocol that is its default.

    Raises:
        UserError: there is no such agent, or neither it nor a flag names its environment.
        SystemExit: help was asked for, or a flag is wrong; it has been printed.
    """
    word, *rest = arguments or [""]
    if word in ("-h", "--help"):
        # Tyro ends the command; the defaults are those of an agent that records nothing.
        print(f"{_AGENT}. The flags default to what the agent records about itself.\n")
        tyro.cli(command, args=["--help"], registry=FLAG_TYPES, prog=f"{prog} AGENT")
    if not word or word.startswith("-"):
        raise UserError(f"AGENT is missing; give it first. {_AGENT}")
    asked, _ = tyro.cli(
        _Asked, args=rest, registry=FLAG_TYPES, return_unknown_args=True, add_help=False
    )
    with opened(word, asked.peers) as agent:
        protocol = {name: getattr(agent.protocol, of) for name, of in of_a_run.items()}
        own = cast(Any, command)(environment=_environment(agent, rest), **protocol)
        with user_errors():
            parsed = tyro.cli(
                command, default=own, args=rest, registry=FLAG_TYPES, prog=f"{prog} AGENT"
            )
        yield agent, parsed


@contextlib.contextmanager
def opened(reference: str, peers: Peers) -> Iterator[Agent]:
    """As `opened_agent`, with the flags' credentials."""
    with user_errors():
        address = ",".join(parse_addresses(reference)) if is_address(reference) else None
    with opened_agent(reference, peers.security(address)) as agent:
        yield agent


def _environment(agent: Agent, flags: Sequence[str]) -> EnvironmentConfig:
    """The defaults of --environment: the agent's, unless the flags name another one."""
    names = [flag.partition("=")[0] for flag in flags]
    if "--environment.name" in names:
        return EnvironmentConfig()
    if agent.environment is not None:
        return agent.environment
    if "--environment.game" in names:
        return EnvironmentConfig()
    raise UserError(
        f"{agent.card.name} does not record its game: give --environment.game, and "
        "--environment.name if the game is not an Atari game"
    )
