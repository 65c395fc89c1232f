"""`rrl status`: the parameters are the flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

from rich.console import RenderableType
from tyro.conf import Positional

from services.cli.peers import Peers
from services.cli.shutdown import install_shutdown_event
from services.cli.status.run_status import RunStatus, look
from services.cli.status.sources import find_roles
from services.cli.status.view import render, to_json
from services.cli.terminal import check_interval, draw, make_console
from services.launcher.progress_display import StageBars
from services.shared.errors import UserError


def status(
    run: Positional[Path | None] = None,
    *,
    learner_address: str | None = None,
    metrics: tuple[str, ...] = (),
    interval: float = 2.0,
    watch: bool = False,
    json: bool = False,
    peers: Peers = Peers(),  # noqa: B008 - frozen
) -> None:
    """Show a run's progress, and which of its roles are up.

    Args:
        run: Folder of the run, sufficient for a run of `rrl train` on this machine; if no role
            answers, the newest checkpoint is shown. Not needed if you give the addresses of the
            roles.
        learner_address: HOST:PORT of the learner, for a run on other machines.
        metrics: URLs of the roles' metrics pages, http://HOST:PORT/metrics each, for a run on other
            machines.
        interval: Seconds between updates of --watch, 0.1 to 3600.
        watch: Keep updating until Ctrl-C; also shows each stage's rate and the time left.
        json: Print one JSON object.
        peers: TLS and credentials for the learner.
    """
    if run is None and learner_address is None and not metrics:
        raise UserError("which run? give RUN, its folder, or --learner-address and --metrics")
    if watch and json:
        raise UserError("--watch and --json do not go together; leave one out")
    check_interval(interval)
    security = peers.security(learner_address)

    def status_now() -> RunStatus:
        return look(run, find_roles(run, learner_address, metrics), security)

    if json:
        print(to_json(status_now()))
    elif watch:
        draw(_frames(status_now, interval, install_shutdown_event()), make_console())
    else:
        make_console().print(render(status_now(), StageBars()))


def _frames(
    status_now: Callable[[], RunStatus], interval_seconds: float, stop: Event
) -> Iterator[RenderableType]:
    """The status, redrawn until stopped."""
    bars = StageBars()
    while not stop.is_set():
        yield render(status_now(), bars)
        stop.wait(interval_seconds)
