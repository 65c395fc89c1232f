"""The evaluator: evaluates weights when due, and the teacher if its return is unknown.

    learner ── weights due ──▶ episodes ──▶ returns ──▶ learner (weaning, report)
    teacher ◀── states ─────── episodes                 once, if its card has no score

It has its own environments and seeds. When the run's final weights arrive, a running evaluation is
dropped in favour of the final one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from rrl_agents.types import Stage
from rrl_client import Priority, TeacherClient, TeacherError, TeacherRejected
from services.evaluator.config import EvaluatorConfig
from services.evaluator.cpu_share_limit import Pace
from services.evaluator.episodes import PlayedEpisodes
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.playing import EvaluationPlayer
from services.learner.client import (
    EvaluationRefused,
    LearnerClient,
    LearnerRefused,
    LearnerUnavailable,
    Purpose,
    WeightUpdate,
)
from services.learner.codec import EvaluationReport, progress_from_proto
from services.shared.cores import usable_cores
from services.shared.errors import UserError, user_errors
from services.shared.logging import Occasionally

_RUN_CHECK_SECONDS = 1.0
_PREPARATION_SECONDS = 20.0
"""Waits until the run's start, in which all roles compile, is over."""


class _RunState(NamedTuple):
    """The state of the run, as a running evaluation checks it.

    Attributes:
        has_final_weights: Whether the run has newer, final weights.
        waits: Whether the run waits for an evaluation.
    """

    has_final_weights: bool = False
    waits: bool = False


class Evaluator:
    """Evaluates until the run is finished or `stop` is set.

    Args:
        config: Environments, protocol and peers.
        metrics: Its metrics; None for no metrics page.
    """

    def __init__(self, config: EvaluatorConfig, metrics: EvaluatorMetrics | None = None) -> None:
        self._config = config
        self._metrics = metrics or EvaluatorMetrics(CollectorRegistry())
        self._player = EvaluationPlayer(config, self._metrics)
        self._learner = LearnerClient(config.learner_address, security=config.peers)
        self._known_version = 0
        self._session = ""
        self._is_unavailable = False
        self._final_played = False
        self._log = logging.getLogger(__name__)

    def run(self, stop: threading.Event) -> None:
        """Evaluate until the run is finished or `stop` is set.

        Raises:
            UserError: the learner refuses the evaluator or is not a learner, or the teacher is
                needed but has no address.
        """
        is_time_to_prepare = Occasionally(_PREPARATION_SECONDS, at_once=False)
        with contextlib.closing(self._learner):
            while not stop.is_set():
                update = self._fetch()
                if update is not None:
                    if update.progress.stage is Stage.FINISHED:
                        return
                    if self.evaluate_what_is_due(update, stop):
                        continue
                if is_time_to_prepare():
                    self._player.prepare()
                stop.wait(self._config.poll_seconds)

    def evaluate_what_is_due(self, update: WeightUpdate, stop: threading.Event) -> bool:
        """Evaluate the teacher if its return is missing, else the weights in an answer, if any.

        Returns:
            Whether anything was played.
        """
        if update.progress.teacher_return is None:
            return self._evaluate_teacher(stop)
        if update.params is None:
            return False
        self._evaluate_student(update, stop)
        return True

    def _evaluate_teacher(self, stop: threading.Event) -> bool:
        address = self._config.teacher_address
        if address is None:
            raise UserError(
                "the teacher's return is unknown, and the evaluator has no teacher to play: give "
                "--teacher-address, or --teacher.mean-return to all roles"
            )
        with TeacherClient(
            address, priority=Priority.EVALUATION, security=self._config.teacher_peers
        ) as teacher:
            try:
                described = teacher.wait_until_ready(self._config.poll_seconds)
                self._log.info("playing the teacher: its card has no score")
                played = self._player.teacher(
                    lambda states: teacher.evaluate(states).action_values,
                    described,
                    self._pacing(stop),
                )
            except TeacherRejected as error:
                raise UserError(f"the teacher refuses this game's states: {error}") from error
            except TeacherError as error:
                self._log.warning("the teacher cannot be played now: %s", error)
                return False
        return played is not None and self._report(played, version=0, stop=stop)

    def _evaluate_student(self, update: WeightUpdate, stop: threading.Event) -> None:
        assert update.params is not None, "there are weights to play"
        played = self._player.student(
            update.params,
            version=update.version,
            final=update.final,
            should_stop=stop.is_set if update.final else self._pacing(stop),
        )
        self._known_version, self._final_played = update.version, update.final
        if played is not None:
            self._report(played, version=update.version, session=update.session, stop=stop)

    def _pacing(self, stop: threading.Event) -> Callable[[], bool]:
        """A function to call before each step of an evaluation, which pauses to keep to its share.

        It does not slow an evaluation that the run waits for. It returns whether to end: when
        stopped, or when the run has final weights, which supersede all others.
        """
        is_time = Occasionally(_RUN_CHECK_SECONDS)
        share = self._config.protocol.max_share
        pace: Pace | None = None
        state = _RunState()

        def should_stop() -> bool:
            nonlocal pace, state
            # Counted from the first step on, without the time to start.
            pace = pace or Pace(share * usable_cores(), stop.wait)
            while not stop.is_set():
                if is_time():
                    state = self._state_of_run()
                if state.has_final_weights:
                    return True
                if share == 1.0 or state.waits or not pace():
                    return False
            return True

        return should_stop

    def _state_of_run(self) -> _RunState:
        try:
            answer = self._learner.progress()
            stage = progress_from_proto(answer.progress).stage
        except (LearnerUnavailable, ValueError):
            return _RunState()
        return _RunState(
            has_final_weights=stage >= Stage.FINAL_EVALUATION,
            waits=answer.awaits_teacher_return or answer.HasField("awaited_updates"),
        )

    def _report(
        self, played: PlayedEpisodes, *, version: int, stop: threading.Event, session: str = ""
    ) -> bool:
        """Send the result, retrying while the learner is unavailable."""
        report = EvaluationReport(
            weights_version=version,
            episode_returns=played.returns,
            episode_steps=played.steps,
            episode_metrics=played.metrics,
            epsilon=self._config.protocol.epsilon,
            session=session,
        )
        while not stop.is_set():
            try:
                with user_errors():
                    progress = self._learner.report(report)
            except EvaluationRefused as error:
                self._log.warning(
                    "the learner refused the evaluation of weights %d: %s", version, error
                )
                return False
            except LearnerUnavailable as error:
                self._log.warning("%s; retrying the report", error)
                stop.wait(self._config.poll_seconds)
                continue
            self._metrics.evaluated(report)
            self._log.info(
                "weights %d: mean return %.2f over %d episodes, weaning weight now %.3f",
                version,
                report.mean_return,
                len(report.episode_returns),
                progress.weaning_weight,
            )
            return True
        return False

    @user_errors()
    def _fetch(self) -> WeightUpdate | None:
        try:
            update = self._learner.fetch(self._known_version, Purpose.EVALUATE)
            if update.session != self._session:
                # The learner restarted: it may need results again that it has lost. It may also be
                # too busy to send these weights yet, so treat them as unknown from here on.
                self._session, self._final_played = update.session, False
                self._known_version = 0
                update = self._learner.fetch(0, Purpose.EVALUATE)
            if update.final and update.params is None and not self._final_played:
                # The last weights were already due before the run declared them final.
                update = self._learner.fetch(0, Purpose.EVALUATE)
        except LearnerUnavailable as error:
            if isinstance(error, LearnerRefused) and not self._session:
                raise UserError(str(error)) from error
            if not self._is_unavailable:
                self._log.warning("%s; retrying", error)
            self._is_unavailable = True
            return None
        self._is_unavailable = False
        return update


def build_evaluator(config: EvaluatorConfig, metrics: EvaluatorMetrics | None = None) -> Evaluator:
    """Build an evaluator, which does not play yet."""
    return Evaluator(config, metrics)
