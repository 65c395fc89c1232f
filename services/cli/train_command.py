"""`rrl train METHOD`: its flags."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from services.cli.experiment_flags import Settings, parse, required
from services.cli.peers import Peers
from services.cli.spinner import spinning
from services.shared.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train a student on this machine, with one process per role or one for all.

    Example: `rrl train qdagger --preset demo --run runs/pong`. Run the same command again to resume
    after a stop or a crash.

    Attributes:
        experiment: The experiment.
        run: Folder of the run.
        baseline: Baseline file with another run's curve to draw in the report, written
            by `rrl report --export-baseline`.
        peers: TLS and credentials for the teacher service of --teacher.address.
    """

    experiment: Settings
    run: Path = required()
    baseline: Path | None = None
    peers: Peers = Peers()


def train_main(arguments: list[str]) -> None:
    """Run `rrl train`.

    Raises:
        UserError: bad input, or the run failed.
    """
    own = parse(Train, arguments, "rrl train")
    served = own.experiment.teacher.address
    if served is None and own.peers != Peers():
        raise UserError(
            "--peers applies to the service of --teacher.address only; give that address, or leave "
            "--peers out"
        )
    peers = own.peers.security(served)
    # Imported once the flags are valid, as it takes seconds.
    with spinning("rrl train"):
        from services.cli.train import train

    train(own.experiment, own.run, baseline=own.baseline, teacher_peers=peers)
