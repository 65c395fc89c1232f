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
    """Train a student on this machine, each role a process of its own, or all in one.

    A run has one folder; the same command resumes it where it was stopped or killed.

    Attributes:
        experiment: What is run.
        run: Folder of the run.
        baseline: Curve of another run to draw beside; `rrl report --export-baseline` makes one.
        peers: What to trust and show at --teacher.address.
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
        raise UserError("--peers is about the teacher of --teacher.address, and there is none")
    peers = own.peers.security(served)
    # What a run needs is imported once its flags are right.
    with spinning("rrl train"):
        from services.cli.train import train

    train(own.experiment, own.run, baseline=own.baseline, teacher_peers=peers)
