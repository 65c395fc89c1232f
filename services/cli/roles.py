"""`rrl replay|importer|learner|actor|evaluator`: one role by itself, for containers and clusters.

Each takes the method, preset and settings that `rrl train` takes, so that all roles of a run are
told the same, and the addresses of its peers. On one machine `rrl train` starts them all.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from services.cli.experiment_flags import Settings, parse, required
from services.launcher.resolution import resolve
from services.launcher.run_directory import open_run
from services.shared.addresses import parse_address
from services.shared.errors import UserError
from services.shared.locks import LEARNER_COMMIT_SECONDS, LEARNER_LOCK, wait_until_free
from services.shared.logging import setup_logging
from services.shared.shutdown import install_shutdown_event


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
    """Serve the replay tables of a run until SIGTERM.

    Attributes:
        experiment: What is run.
        run: Folder of the run.
        port: Port to listen on.
    """

    experiment: Settings
    run: Path = required()
    port: int = 50052


@dataclasses.dataclass(frozen=True, kw_only=True)
class Importer:
    """Fill the teacher's table of a run from recorded data (--teacher.data).

    Every state is labelled by the teacher. Ends when the table holds all, or on SIGTERM; started
    again, it goes on.

    Attributes:
        experiment: What is run.
        run: Folder of the run; the labels go there.
        replay_address: HOST:PORT of the replay server.
        teacher_address: HOST:PORT of the teacher service.
    """

    experiment: Settings
    run: Path = required()
    replay_address: str = required()
    teacher_address: str = required()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
    """Train the student of a run until it is finished, or SIGTERM.

    Attributes:
        experiment: What is run.
        run: Folder of the run.
        replay_address: HOST:PORT of the replay server.
        host: Address to serve weights on; 0.0.0.0 lets other machines ask.
        port: Port to serve weights on.
    """

    experiment: Settings
    run: Path = required()
    replay_address: str = required()
    host: str = "127.0.0.1"
    port: int = 50053


@dataclasses.dataclass(frozen=True, kw_only=True)
class Actor:
    """Play environments into replay until the run is finished, or SIGTERM.

    Attributes:
        experiment: What is run.
        learner_address: HOST:PORT of the learner.
        replay_address: HOST:PORT of the replay server.
        teacher_address: HOST:PORT of the teacher service; not needed by a method without one.
        index: Number of this actor, from 0; each needs its own.
    """

    experiment: Settings
    learner_address: str = required()
    replay_address: str = required()
    teacher_address: str | None = None
    index: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Score the student of a run until it is finished, or SIGTERM.

    Attributes:
        experiment: What is run.
        run: Folder of the run; the video goes there.
        learner_address: HOST:PORT of the learner.
        teacher_address: HOST:PORT of the teacher service; needed where its card has no score.
    """

    experiment: Settings
    run: Path = required()
    learner_address: str = required()
    teacher_address: str | None = None


def replay_main(arguments: list[str]) -> None:
    """Run the replay server."""
    from services.replay.server import build_replay

    own = parse(Replay, arguments, "rrl replay")
    stop = install_shutdown_event()
    setup_logging("replay")
    experiment = resolve(own.experiment)
    open_run(own.run, experiment)
    with _user_values():
        config = experiment.replay_config(own.run, port=own.port)
    server = build_replay(config)
    print(f"replay ready at port {server.start()}", flush=True)
    stop.wait()
    # Whoever stops a run stops all roles at once: the learner's last commit needs the tables.
    wait_until_free(own.run / LEARNER_LOCK, timeout_seconds=LEARNER_COMMIT_SECONDS)
    server.stop()


def importer_main(arguments: list[str]) -> None:
    """Run the importer of recorded data."""
    from services.replay.preload import build_preloader

    own = parse(Importer, arguments, "rrl importer")
    stop = install_shutdown_event()
    setup_logging("importer")
    experiment = resolve(own.experiment)
    open_run(own.run, experiment)
    config = experiment.importer_config(
        own.run,
        replay_address=str(parse_address(own.replay_address)),
        teacher_address=str(parse_address(own.teacher_address)),
    )
    build_preloader(config).run(stop)


def learner_main(arguments: list[str]) -> None:
    """Run the learner."""
    from services.learner.loop import build_learner

    own = parse(Learner, arguments, "rrl learner")
    stop = install_shutdown_event()
    setup_logging("learner")
    experiment = resolve(own.experiment)
    open_run(own.run, experiment)
    replay_address = str(parse_address(own.replay_address))
    config = experiment.learner_config(own.run, replay_address=replay_address, port=own.port)
    build_learner(dataclasses.replace(config, host=own.host)).run(stop)


def actor_main(arguments: list[str]) -> None:
    """Run one actor."""
    from services.actor.loop import build_actor

    own = parse(Actor, arguments, "rrl actor")
    stop = install_shutdown_event()
    setup_logging(f"actor-{own.index}")
    with _user_values():
        config = resolve(own.experiment).actor_config(
            own.index,
            learner_address=str(parse_address(own.learner_address)),
            replay_address=str(parse_address(own.replay_address)),
            teacher_address=_optional_address(own.teacher_address),
        )
    build_actor(config).run(stop)


def evaluator_main(arguments: list[str]) -> None:
    """Run the evaluator."""
    from services.evaluator.loop import build_evaluator

    own = parse(Evaluator, arguments, "rrl evaluator")
    stop = install_shutdown_event()
    setup_logging("evaluator")
    config = resolve(own.experiment).evaluator_config(
        own.run,
        learner_address=str(parse_address(own.learner_address)),
        teacher_address=_optional_address(own.teacher_address),
    )
    build_evaluator(config).run(stop)


@contextlib.contextmanager
def _user_values() -> Iterator[None]:
    """Turn a config's complaint about a value of the command line into one line."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from error


def _optional_address(text: str | None) -> str | None:
    return None if text is None else str(parse_address(text))
