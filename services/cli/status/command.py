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
    """Show where a run stands, and which of its roles are up.

    Args:
        run: Folder of the run; not needed with the addresses of its roles. A run of `rrl train` on
            this machine is found by it; where no role answers, its newest checkpoint is shown.
        learner_address: HOST:PORT of the learner of a run elsewhere.
        metrics: Metrics pages of the roles of a run elsewhere, http://HOST:PORT/metrics each.
        interval: Seconds between two looks of --watch, 0.1 to 3600.
        watch: Look again and again, until Ctrl-C; shows the rate and the time left of a stage, too.
        json: Print one JSON object.
        peers: What to trust and show at the learner.
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
    """The status drawn, again and again until stopped."""
    bars = StageBars()
    while not stop.is_set():
        yield render(status_now(), bars)
        stop.wait(interval_seconds)
