"""`rrl status`: the parameters are the flags."""

from __future__ import annotations

import collections
import dataclasses
import json as json_module
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import RenderableType
from tyro.conf import Positional

from services.cli.peers import Peers
from services.cli.shutdown import install_shutdown_event
from services.cli.status.comparing import status_of
from services.cli.status.facts import RunStatus
from services.cli.status.sources import (
    Scrape,
    Sources,
    find_sources,
    learner_works_on,
    scrape,
)
from services.cli.status.view import render
from services.cli.terminal import check_interval, draw, make_console
from services.shared.errors import UserError

_FACTS_OF_THE_OTHERS = ("lives", "frames_per_second", "replay", "teacher", "actors", "roles")
"""What needs no learner to be known."""

_KEPT_SCRAPES = 15
"""Rates under --watch are of this many intervals: steady, and soon to follow a change."""


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
    """Tell where a run stands, and which of its roles live.

    Args:
        run: Folder of the run; not needed with the addresses of its roles. A run of `rrl train` on
            this machine is found by it; of one whose roles nobody reaches, the newest checkpoint
            is told.
        learner_address: HOST:PORT of the learner of a run elsewhere.
        metrics: Metrics pages of the roles of a run elsewhere, http://HOST:PORT/metrics each.
        interval: Seconds between two looks, 0.1 to 3600; rates are of the time between.
        watch: Look again and again, until Ctrl-C.
        json: Print one JSON object, and end.
        peers: What to trust and show at the learner.
    """
    _check(run, learner_address, metrics, interval, watch=watch, json=json)
    security = peers.security(learner_address)
    stop = install_shutdown_event()
    watched = _Watched(
        run, lambda: find_sources(run, learner_address, metrics, security), stop, interval
    )
    console = make_console()
    if watch:
        draw(watched.frames(), console)
        return
    found = watched.step()
    if found is not None and json:
        print(to_json(found))
    elif found is not None:
        console.print(render(found))


def to_json(status: RunStatus) -> str:
    """A status as a JSON object; what is no number in JSON is null."""
    return json_module.dumps(_finite(dataclasses.asdict(status)), indent=1, allow_nan=False)


class _Watched:
    """One run, looked at again and again; roles may come and go meanwhile."""

    def __init__(
        self,
        run: Path | None,
        find: Callable[[], Sources],
        stop: threading.Event,
        interval_seconds: float,
    ) -> None:
        self._run = run
        self._find = find
        self._interval_seconds = interval_seconds
        self._stop = stop
        self._scrapes: collections.deque[Scrape] = collections.deque(maxlen=_KEPT_SCRAPES)
        self._sources: Sources | None = None

    def step(self) -> RunStatus | None:
        """The status now; takes an interval, the first time also a look. None when stopped.

        Raises:
            UserError: the run cannot be told of.
        """
        sources = self._find()
        if sources != self._sources or not self._scrapes:
            self._sources = sources
            self._scrapes.clear()
            self._scrapes.append(scrape(sources))
        if not self._scrapes[-1].lives:
            return self._at_rest(sources)
        if self._stop.wait(self._interval_seconds):
            return None
        self._scrapes.append(scrape(sources))
        if not self._scrapes[-1].lives:
            return self._at_rest(sources)
        return self._alive(sources)

    def frames(self) -> Iterator[RenderableType]:
        """The status drawn, again and again until stopped."""
        while not self._stop.is_set():
            found = self.step()
            if found is None:
                return
            yield render(found)
            if not found.lives:
                self._stop.wait(self._interval_seconds)

    def _alive(self, sources: Sources) -> RunStatus:
        told = str(self._run) if self._run is not None else None
        found = status_of(told, sources, self._scrapes[0], self._scrapes[-1])
        if found.stage is not None or self._run is None:
            return found
        from services.cli.status.at_rest import status_at_rest

        return dataclasses.replace(
            status_at_rest(self._run, "the learner does not answer"),
            **{name: getattr(found, name) for name in _FACTS_OF_THE_OTHERS},
        )

    def _at_rest(self, sources: Sources) -> RunStatus:
        asked = sources.learner is not None or bool(sources.pages)
        if self._run is None:
            raise UserError(
                "nobody answers at these addresses; look whether the roles run, or give the run's "
                "folder"
            )
        # Orbax, which reads checkpoints, takes seconds to import.
        from services.cli.status.at_rest import status_at_rest

        note = "nobody answers" if asked else "no role of this run lives on this machine"
        if not asked and learner_works_on(self._run):
            note = "a learner works on it; give --learner-address and --metrics to ask it"
        found = status_at_rest(self._run, note)
        self._scrapes.clear()
        return found


def _check(
    run: Path | None,
    learner_address: str | None,
    metrics: tuple[str, ...],
    interval: float,
    *,
    watch: bool,
    json: bool,
) -> None:
    if run is None and learner_address is None and not metrics:
        raise UserError("whose status? give RUN, its folder, or --learner-address and --metrics")
    check_interval(interval)
    if watch and json:
        raise UserError("--watch and --json do not go together; leave one out")


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
