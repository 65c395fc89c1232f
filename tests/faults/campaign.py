"""One fault after the other: inject it, wait until all works again, look whether all is well."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import signal
import time
from collections.abc import Iterable, Iterator

from services.shared.grpc_server import DEAD_PEER_SECONDS
from tests.faults.faults import Fault
from tests.faults.injection import Injector, NotPossible
from tests.faults.memory import Memory
from tests.faults.records import Records, last_line
from tests.faults.recovery import Recovery, await_recovery, weights_are_finite
from tests.faults.supervisor import Exit
from tests.faults.system import System
from tests.faults.watch import Watch, agent_steps

_START_SECONDS = 600.0
_END_SECONDS = 60.0
_LONGEST_REST_SECONDS = 3.0
_CHECKPOINT_PATIENCE_SECONDS = 30.0
_KEPT_SECONDS = 60.0
_LET_GO_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one fault.

    Attributes:
        number: From 1.
        fault: What was done.
        stage: Stage of the run before it.
        was_done: False where it could not be had.
        recovery: How the system came back.
        lost_updates: Updates that the clocks fell back by.
        lost_steps: Agent steps, likewise.
        since_checkpoint_seconds: Age of the newest sound checkpoint when the fault began, None for
            none.
        ends: Processes that ended without being signalled.
        problems: What must not be; empty when all is well.
    """

    number: int
    fault: Fault
    stage: str
    was_done: bool
    recovery: Recovery
    lost_updates: int
    lost_steps: int
    since_checkpoint_seconds: float | None
    ends: tuple[str, ...]
    problems: tuple[str, ...]


class Campaign:
    """Faults on one running system.

    Args:
        system: Which.
        watch: On it.
        injector: Of the faults.
        patience_seconds: Longest recovery that is allowed.
        seed: Of the rests between faults.
    """

    def __init__(
        self,
        system: System,
        watch: Watch,
        injector: Injector,
        *,
        patience_seconds: float,
        seed: int,
    ) -> None:
        self._system = system
        self._watch = watch
        self._injector = injector
        self._patience_seconds = patience_seconds
        self._rests = random.Random(seed)
        self._ends_seen = 0
        self.records = Records(system.config.logs)
        self.memory = Memory()

    def run(self, faults: Iterable[Fault]) -> Iterator[Outcome]:
        """Bring the faults about, one by one.

        Raises:
            RuntimeError: the system does not start, or does not come back: nothing more can be
                learned from it.
        """
        started = await_recovery(self._system, self._watch, time.monotonic(), _START_SECONDS)
        if started.missing:
            raise RuntimeError(f"the system does not start: {'; '.join(started.missing)}")
        for number, fault in enumerate(faults, 1):
            time.sleep(self._rests.uniform(0.0, _LONGEST_REST_SECONDS))
            outcome = self._suffer(number, fault)
            yield outcome
            if outcome.recovery.missing:
                raise RuntimeError(f"no recovery: {'; '.join(outcome.recovery.missing)}")

    def _suffer(self, number: int, fault: Fault) -> Outcome:
        began = time.monotonic()
        last, checkpoint = self._watch.last, self._watch.newest_checkpoint
        assert last is not None, "the system has started"
        age = time.time() - checkpoint.written_at if checkpoint is not None else None
        was_done = True
        try:
            since = self._injector.inject(fault)
        except NotPossible:
            was_done, since = False, time.monotonic()
        recovery = await_recovery(self._system, self._watch, since, self._patience_seconds)
        ends = self._unasked_ends()
        after = [sample.progress for sample in self._watch.samples_since(began)]
        outcome = Outcome(
            number=number,
            fault=fault,
            stage=last.progress.stage.name.lower(),
            was_done=was_done,
            recovery=recovery,
            lost_updates=_fall(last.progress.learner_updates, (p.learner_updates for p in after)),
            lost_steps=_fall(agent_steps(last.progress), map(agent_steps, after)),
            since_checkpoint_seconds=age,
            ends=tuple(map(_described, ends)),
            problems=(*self._problems(recovery), *_ended_for_good(ends)),
        )
        self.memory.look(self._watch.usage())
        self._watch.forget_samples_before(time.monotonic() - _KEPT_SECONDS)
        return outcome

    def _problems(self, recovery: Recovery) -> list[str]:
        problems = [f"no recovery: {missing}" for missing in recovery.missing]
        problems += self._watch.take_violations()
        problems += self.records.check(self._watch)
        if weights_are_finite(self._system) is False:
            problems.append("the weights are not finite")
        problems += self.memory.excesses(self._watch.usage())
        problems += self._left_over()
        if not problems and not self._checkpoints_go_on():
            problems.append("no checkpoint is written any more")
        return problems

    def _left_over(self) -> list[str]:
        """What servers hold of those who are gone; they let go of the silent after a while."""
        end = time.monotonic() + DEAD_PEER_SECONDS + _LET_GO_SECONDS
        while (found := self.memory.left_over(self._watch.usage())) and time.monotonic() < end:
            time.sleep(0.5)
        return found

    def _checkpoints_go_on(self) -> bool:
        """Whether the newest sound checkpoint is young, or there is a younger one soon."""
        end = time.monotonic() + _CHECKPOINT_PATIENCE_SECONDS
        oldest = time.time() - 2 * self._system.config.checkpoint_period_seconds
        while time.monotonic() < end:
            checkpoint = self._watch.newest_checkpoint
            with contextlib.suppress(OSError):
                if checkpoint is not None and checkpoint.written_at >= oldest:
                    return True
            time.sleep(0.1)
        return False

    def _unasked_ends(self) -> list[Exit]:
        ends = self._system.supervisor.ends[self._ends_seen :]
        self._ends_seen += len(ends)
        return [end for end in ends if not end.was_asked]


def end_in_order(system: System) -> list[str]:
    """Ask every role to end; returns what went wrong with that."""
    roles = system.supervisor.roles
    before = len(system.supervisor.ends)
    for role in roles:
        system.supervisor.hold(role)
        system.supervisor.signal(role, signal.SIGTERM)
    late = system.supervisor.wait_until_ended(roles, timeout_seconds=_END_SECONDS)
    time.sleep(0.2)
    problems = [f"{role} did not end {_END_SECONDS:g} s after SIGTERM" for role in late]
    return problems + [
        f"asked to end, {_described(end)}"
        for end in system.supervisor.ends[before:]
        if end.code != 0 and end.role not in late
    ]


def _fall(before: int, after: Iterable[int]) -> int:
    return max(0, before - min(after, default=before))


def _ended_for_good(ends: Iterable[Exit]) -> list[str]:
    """Ends that say that the run is finished: no supervisor would restart that role."""
    return [f"{end.role} ended as if the run were finished" for end in ends if end.code == 0]


def _described(end: Exit) -> str:
    return f"{end.role} ended with {end.code}: {last_line(end)}"
