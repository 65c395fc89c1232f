"""What a role's metrics page tells in one look; what takes two, as rates do, is Grafana's."""

from __future__ import annotations

from collections.abc import Mapping

from services.cli.metrics_pages.page import Page

_UNANSWERED = 'rrl_actor_queries_total{result="unanswered"}'

READINGS = {
    "rrl_teacher_queue_rows": "{:,.0f} rows waiting",
    "rrl_replay_items": "{:,.0f} items",
    "rrl_replay_samples_per_insert": "replay ratio {:.2f}",
    "rrl_replay_samples_per_insert_target": "asked {:.2f}",
    "rrl_learner_answered_share": "{:.1%} of rows answered",
    "rrl_actor_episode_return": "last return {:.2f}",
    "rrl_actor_weights_lag_updates": "weights {:,.0f} updates behind",
    "rrl_actor_weights_age_seconds": "{:,.1f} s old",
    _UNANSWERED: "{:,.0f} queries unanswered",
}
"""Metric, and its value in words."""


def readings_of(page: Page) -> dict[str, float]:
    """The readings of a page, by metric; those that are not on it are left out."""
    values = {metric: page.value(metric) for metric in READINGS}
    values[_UNANSWERED] = page.value("rrl_actor_queries_total", result="unanswered")
    return {metric: value for metric, value in values.items() if value is not None}


def in_words(readings: Mapping[str, float]) -> str:
    """Readings in one line."""
    return ", ".join(READINGS[metric].format(value) for metric, value in readings.items())
