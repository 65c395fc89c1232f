"""The numbers of a campaign, for people and for machines."""

from __future__ import annotations

import collections
import dataclasses
import json
import statistics
from collections.abc import Sequence
from typing import Any

from tests.faults.campaign import Campaign, Outcome


def line(outcome: Outcome) -> str:
    """One fault in one line."""
    fault, recovery = outcome.fault, outcome.recovery
    parts = [f"{outcome.number:4d} {fault.kind.value:20} {fault.whom or '-':20} {outcome.stage:8}"]
    parts.append(f"{fault.seconds:5.1f} s")
    if not outcome.was_done:
        parts.append("not possible now")
    parts.append(f"back after {recovery.seconds:5.1f} s ({recovery.last})")
    if outcome.lost_updates or outcome.lost_steps:
        age = outcome.since_checkpoint_seconds
        since = f", last checkpoint {age:.1f} s before" if age is not None else ""
        parts.append(f"lost {outcome.lost_updates} updates, {outcome.lost_steps} steps{since}")
    text = "  ".join(parts)
    ends = [f"     - {end}" for end in outcome.ends]
    return "\n".join([text, *ends, *(f"     ! {problem}" for problem in outcome.problems)])


def summary(outcomes: Sequence[Outcome], campaigns: Sequence[Campaign]) -> dict[str, Any]:
    """All numbers as one JSON object.

    Args:
        outcomes: Of all faults.
        campaigns: What they were part of.
    """
    done = [outcome for outcome in outcomes if outcome.was_done]
    by_kind: dict[str, list[Outcome]] = collections.defaultdict(list)
    for outcome in done:
        by_kind[outcome.fault.kind.value].append(outcome)
    return {
        "faults": len(done),
        "not_possible": len(outcomes) - len(done),
        "problems": sum(len(outcome.problems) for outcome in outcomes),
        "by_role": dict(collections.Counter(outcome.fault.whom or "disk" for outcome in done)),
        "by_kind": {kind: _numbers(found) for kind, found in by_kind.items()},
        "all": _numbers(done),
        "unasked_ends": dict(
            collections.Counter(end.split(" ", 1)[0] for outcome in done for end in outcome.ends)
        ),
        "tracebacks": dict(
            sum((campaign.records.exceptions for campaign in campaigns), collections.Counter())
        ),
        "restorations": sum(campaign.records.restorations for campaign in campaigns),
        "memory": [_memory(campaign) for campaign in campaigns],
    }


def _numbers(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    if not outcomes:
        return {"faults": 0}
    seconds = sorted(outcome.recovery.seconds for outcome in outcomes)
    return {
        "faults": len(outcomes),
        "recovery_seconds_median": round(statistics.median(seconds), 1),
        "recovery_seconds_max": round(seconds[-1], 1),
        "lost_updates_total": sum(outcome.lost_updates for outcome in outcomes),
        "lost_updates_max": max(outcome.lost_updates for outcome in outcomes),
        "lost_steps_total": sum(outcome.lost_steps for outcome in outcomes),
        "lost_steps_max": max(outcome.lost_steps for outcome in outcomes),
        "losing_faults": sum(outcome.lost_updates > 0 for outcome in outcomes),
        "unasked_ends": sum(len(outcome.ends) for outcome in outcomes),
    }


def _memory(campaign: Campaign) -> dict[str, Any]:
    return {
        role: {
            "most_rss_mib": round(campaign.memory.most[role].rss_mib),
            "most_descriptors": campaign.memory.most[role].descriptors,
            "most_threads": campaign.memory.most[role].threads,
            "longest_life_faults": life.faults,
            "growth_mib": round(life.growth_mib, 1),
        }
        for role, life in campaign.memory.longest_lives().items()
    }


def table(numbers: dict[str, Any]) -> str:
    """The summary for people."""
    rows = [f"{'':22}{'faults':>7}{'median s':>10}{'max s':>8}{'lost updates':>14}{'most':>7}"]
    for kind, found in [*sorted(numbers["by_kind"].items()), ("all", numbers["all"])]:
        if found["faults"]:
            rows.append(
                f"{kind:22}{found['faults']:7}{found['recovery_seconds_median']:10}"
                f"{found['recovery_seconds_max']:8}{found['lost_updates_total']:14}"
                f"{found['lost_updates_max']:7}"
            )
    others = ("not_possible", "problems", "by_role", "unasked_ends", "tracebacks", "restorations")
    rows += [f"{name}: {numbers[name]}" for name in others]
    rows += [f"{role}: {found}" for one in numbers["memory"] for role, found in one.items()]
    return "\n".join(rows)


def as_json(outcome: Outcome) -> str:
    """One fault as a line of JSON."""
    return json.dumps(dataclasses.asdict(outcome), default=lambda kind: kind.value)
