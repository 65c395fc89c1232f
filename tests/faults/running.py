"""Several campaigns one after the other, each on a run of its own that begins at its beginning."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.campaign import Campaign, Outcome, end_in_order
from tests.faults.disk import small_disk
from tests.faults.faults import Fault, Kind, draw_faults
from tests.faults.injection import Injector
from tests.faults.system import SystemConfig, running_system
from tests.faults.teacher import save_catch_teacher
from tests.faults.watch import Watch

_DISK_MIB = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        folder: For everything that is written.
        faults: How many.
        seed: Of kinds, roles, seconds and order.
        faults_per_run: After so many faults another run is begun, so that its first stages are
            met, too.
        kinds: Which are drawn.
        patience_seconds: Longest recovery that is allowed.
    """

    folder: Path
    faults: int
    seed: int
    faults_per_run: int = 60
    kinds: frozenset[Kind] = frozenset(Kind)
    patience_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.faults < 1 or self.faults_per_run < 1 or not self.patience_seconds > 0:
            raise ValueError(
                f"faults {self.faults} and faults_per_run {self.faults_per_run} must be at least "
                f"1, patience_seconds {self.patience_seconds} above 0"
            )


@dataclasses.dataclass(kw_only=True)
class Results:
    """What came of it.

    Attributes:
        outcomes: Of each fault.
        campaigns: Of each run.
        problems: What went wrong beside single faults.
    """

    outcomes: list[Outcome] = dataclasses.field(default_factory=list)
    campaigns: list[Campaign] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether nothing was found that must not be."""
        return not self.problems and not any(outcome.problems for outcome in self.outcomes)


def run_plan(
    plan: Plan, tell: Callable[[Outcome], None], should_stop: Callable[[], bool] = lambda: False
) -> Results:
    """Do it all.

    Args:
        plan: What.
        tell: Hears of each fault as it is over.
        should_stop: Asked before each fault; true ends in order.
    """
    teacher = plan.folder / "teacher"
    save_catch_teacher(teacher)
    results = Results()
    with small_disk(plan.folder / "disk", _DISK_MIB) as disk:
        kinds = plan.kinds if disk is not None else plan.kinds - {Kind.DISK_FULL, Kind.DISK_SLOW}
        drawn = draw_faults(plan.faults, plan.seed, kinds)
        faults = itertools.takewhile(lambda _: not should_stop(), drawn)
        for index in range(-(-plan.faults // plan.faults_per_run)):
            if should_stop():
                break
            place = disk or plan.folder
            config = SystemConfig(
                run=place / f"run-{index}",
                logs=plan.folder / "logs" / f"run-{index}",
                bytecode=plan.folder / "bytecode",
                teacher=teacher,
            )
            some = itertools.islice(faults, plan.faults_per_run)
            _one_run(plan, config, disk, some, results, tell)
    return results


def _one_run(
    plan: Plan,
    config: SystemConfig,
    disk: Path | None,
    faults: Iterator[Fault],
    results: Results,
    tell: Callable[[Outcome], None],
) -> None:
    with running_system(config) as system, Watch(system) as watch:
        campaign = Campaign(
            system,
            watch,
            Injector(system, watch, disk),
            patience_seconds=plan.patience_seconds,
            seed=plan.seed,
        )
        results.campaigns.append(campaign)
        try:
            for outcome in campaign.run(faults):
                results.outcomes.append(outcome)
                tell(outcome)
            results.problems += end_in_order(system)
        except RuntimeError as error:
            results.problems.append(str(error))
