"""Raw scores of a suite, in tables that others can aggregate.

    results/evaluations.csv   a row per evaluation of a student
    results/episodes.csv      a row per episode of these
    results/references.csv    a row per game: the random policy and the teacher

Returns are undiscounted sums of raw rewards. Frames are environment frames; `frames` are those of
online play (of JSRL's teacher, too), counted by updates: replay holds the ratio between the two, so
that runs line up exactly.
"""

from __future__ import annotations

import dataclasses

from services.bench.csv_files import read_rows, write_rows
from services.bench.folder import BenchFolder

EVALUATIONS, EPISODES, REFERENCES = "evaluations.csv", "episodes.csv", "references.csv"


@dataclasses.dataclass(frozen=True)
class EvaluationRow:
    """One evaluation of a student.

    Attributes:
        entry: Name of the suite's entry.
        method: Name of the method.
        student: Name of the student.
        game: What was played.
        seed: Number of the repetition.
        frames: Environment frames of online play behind the weights, nominal.
        teacher_frames: Environment frames of the teacher's play in its table.
        offline_updates: Gradient steps on the teacher's data behind the weights.
        online_updates: Gradient steps on the student's own data behind the weights.
        mean_return: Mean over the episodes.
        episodes: Number of episodes.
        epsilon: Exploration rate while they were played.
        sticky_actions: Probability that the environment repeated the last action.
        max_episode_steps: Decisions after which an episode was cut off.
        final: Whether these are the run's last weights.
    """

    entry: str
    method: str
    student: str
    game: str
    seed: int
    frames: int
    teacher_frames: int
    offline_updates: int
    online_updates: int
    mean_return: float
    episodes: int
    epsilon: float
    sticky_actions: float
    max_episode_steps: int
    final: bool


@dataclasses.dataclass(frozen=True)
class EpisodeRow:
    """One episode of an evaluation, which the first columns name.

    Attributes:
        entry: Name of the suite's entry.
        game: What was played.
        seed: Number of the repetition.
        offline_updates: Gradient steps on the teacher's data behind the weights.
        online_updates: Gradient steps on the student's own data behind the weights.
        final: Whether these are the run's last weights.
        episode: 0, 1, 2 ... within the evaluation.
        episode_return: Undiscounted, unclipped.
        steps: Decisions of the episode.
    """

    entry: str
    game: str
    seed: int
    offline_updates: int
    online_updates: int
    final: bool
    episode: int
    episode_return: float
    steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceRow:
    """What a game's scores are measured by: 0 is the random policy, 1 the teacher.

    Attributes:
        game: What was played.
        random_return: Mean return of the uniformly random policy.
        random_source: Where that number comes from.
        teacher: Name of the teacher.
        teacher_return: Its mean return.
        teacher_low: Lower end of the 95% interval of that mean; None where it is unknown.
        teacher_high: Upper end.
        teacher_episodes: Episodes behind it; None where it is unknown.
        teacher_epsilon: Exploration rate while they were played; None where it is unknown.
        teacher_sticky_actions: Probability that the environment repeated the last action; likewise.
        teacher_max_episode_steps: Decisions after which an episode was cut off; likewise.
        teacher_source: Where the score comes from.
        teacher_frames: Environment frames that it learned from; None where it is unknown.
        teacher_updates: Its gradient steps; likewise.
    """

    game: str
    random_return: float
    random_source: str
    teacher: str
    teacher_return: float
    teacher_low: float | None = None
    teacher_high: float | None = None
    teacher_episodes: int | None = None
    teacher_epsilon: float | None = None
    teacher_sticky_actions: float | None = None
    teacher_max_episode_steps: int | None = None
    teacher_source: str
    teacher_frames: int | None = None
    teacher_updates: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """The tables.

    Attributes:
        evaluations: In the order of the suite, of each run in the order of its training.
        episodes: Likewise.
        references: One per game.
    """

    evaluations: tuple[EvaluationRow, ...]
    episodes: tuple[EpisodeRow, ...]
    references: tuple[ReferenceRow, ...]


def write_results(folder: BenchFolder, results: Results) -> None:
    """Write the tables, each whole or not at all."""
    write_rows(folder.results / EVALUATIONS, EvaluationRow, results.evaluations)
    write_rows(folder.results / EPISODES, EpisodeRow, results.episodes)
    write_rows(folder.results / REFERENCES, ReferenceRow, results.references)


def read_results(folder: BenchFolder) -> Results:
    """Read the tables that a report needs; episodes are left where they are.

    Raises:
        UserError: one is missing or damaged.
    """
    return Results(
        evaluations=read_rows(folder.results / EVALUATIONS, EvaluationRow),
        episodes=(),
        references=read_rows(folder.results / REFERENCES, ReferenceRow),
    )
