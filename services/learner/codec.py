"""Converts progress and evaluations between our types and protobuf messages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from statistics import fmean

from rrl_agents.ranges import check_ranges
from rrl_agents.types import Progress, Stage
from services.learner.evaluation_records import check_episodes, check_metrics
from services.learner.v1 import learner_pb2

MAX_MESSAGE_BYTES = 256 * 2**20
"""Largest message of the learner service: weights of 64 million float32 parameters."""

MAX_EPISODES = 100_000
"""Most episodes of one evaluation report."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """The result of one evaluation.

    Attributes:
        weights_version: Version of the student's weights that played; 0 for the teacher.
        episode_returns: Undiscounted, unclipped return of each finished episode.
        episode_steps: Agent steps of each of these episodes.
        epsilon: Probability of a random action while playing.
        episode_metrics: Name of a metric of the environment -> its value in each of these episodes.
        session: Session of the learner that sent the weights (`WeightUpdate.session`); empty for
            the teacher, or if unknown.
    """

    weights_version: int
    episode_returns: tuple[float, ...]
    episode_steps: tuple[int, ...]
    epsilon: float
    episode_metrics: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    session: str = ""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if len(self.episode_returns) > MAX_EPISODES:
            raise ValueError(f"an evaluation has at most {MAX_EPISODES} episodes")
        check_episodes(self.episode_returns, self.episode_steps)
        check_metrics(self.episode_metrics, len(self.episode_returns))
        check_ranges(self, "epsilon", least=0, most=1)

    @property
    def mean_return(self) -> float:
        """Mean over the episodes."""
        return fmean(self.episode_returns)

    @property
    def mean_metrics(self) -> Mapping[str, float]:
        """Name of a metric of the environment -> its mean over the episodes."""
        return {name: fmean(values) for name, values in self.episode_metrics.items()}


def progress_to_proto(progress: Progress) -> learner_pb2.Progress:
    """Convert progress to a message; unknown returns stay absent."""
    known = {name: value for name, value in vars(progress).items() if value is not None}
    return learner_pb2.Progress(**known)


def progress_from_proto(message: learner_pb2.Progress) -> Progress:
    """Convert a message to progress.

    Raises:
        ValueError: the stage is unknown.
    """
    known = {
        name: getattr(message, name)
        for name, field in message.DESCRIPTOR.fields_by_name.items()
        if not field.has_presence or message.HasField(name)  # type: ignore[arg-type]
    }
    return Progress(**{**known, "stage": Stage(message.stage)})


def report_to_proto(report: EvaluationReport) -> learner_pb2.ReportEvaluationRequest:
    """Convert an evaluation to a request."""
    metrics = {
        name: learner_pb2.EpisodeMetric(values=values)
        for name, values in report.episode_metrics.items()
    }
    return learner_pb2.ReportEvaluationRequest(**{**vars(report), "episode_metrics": metrics})


def report_from_proto(request: learner_pb2.ReportEvaluationRequest) -> EvaluationReport:
    """Convert a request to an evaluation.

    Raises:
        ValueError: no episodes, too many, unequal lengths, empty episodes, or returns that are not
            finite.
    """
    return EvaluationReport(
        weights_version=request.weights_version,
        episode_returns=tuple(request.episode_returns),
        episode_steps=tuple(request.episode_steps),
        epsilon=request.epsilon,
        episode_metrics={
            name: tuple(metric.values) for name, metric in request.episode_metrics.items()
        },
        session=request.session,
    )
