"""What a teacher service is not set to, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig, buckets_up_to

MODELS = (ModelConfig(reference="somewhere"),)


def checkpoints(*names: str) -> tuple[ModelConfig, ...]:
    return tuple(ModelConfig(name=name, reference="somewhere") for name in names)


def test_more_checkpoints_of_a_name_than_versions_kept_are_refused() -> None:
    TeacherConfig(models=checkpoints("a", "b", "a"), kept_versions=2)
    with pytest.raises(ValueError, match="3 checkpoints are named 'a'.*keep 3"):
        TeacherConfig(models=checkpoints("a", "b", "a", "a"), kept_versions=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 0, "metrics_port": 0},
        {"port": 65535, "metrics_port": None},
        {"reload_seconds": 0.1, "connection_age_seconds": 1.0, "lame_duck_seconds": 0.0},
        {"backend": "onnx", "dtype": "bfloat16"},
    ],
)
def test_the_ends_of_every_range_are_taken(changes: dict[str, Any]) -> None:
    TeacherConfig(models=MODELS, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ()}, "no model given"),
        ({"port": 65536}, "port is 65536; use a number at least 0 and at most 65535"),
        ({"metrics_port": -1}, "metrics_port is -1; use a number at least 0 and at most 65535"),
        ({"port": 9000, "metrics_port": 9000}, "port and metrics_port are both 9000"),
        ({"backend": "torch"}, "backend is 'torch'; known are auto, jax, onnx"),
        ({"dtype": "float16"}, "dtype is 'float16'; known are float32, bfloat16"),
        ({"kept_versions": 0}, "kept_versions is 0; use a number at least 1"),
        ({"reload_seconds": 0.0}, "reload_seconds is 0.0; use a number above 0"),
        ({"reload_seconds": float("nan")}, "reload_seconds is nan"),
        ({"lame_duck_seconds": -0.1}, "lame_duck_seconds is -0.1; use a number at least 0"),
        ({"lame_duck_seconds": float("nan")}, "lame_duck_seconds is nan"),
        ({"connection_age_seconds": 0.5}, "connection_age_seconds is 0.5; use a number at least 1"),
    ],
)
def test_a_service_out_of_range_is_refused_with_the_range(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TeacherConfig(**({"models": MODELS} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"buckets": ()}, r"buckets are \(\); give ascending sizes from 1 on"),
        ({"buckets": (0, 1)}, r"buckets are \(0, 1\)"),
        ({"buckets": (2, 1)}, r"buckets are \(2, 1\)"),
        ({"buckets": (1, 1)}, r"buckets are \(1, 1\)"),
        ({"max_queue_rows": 127}, "max_queue_rows is 127 and the largest batch 128 rows"),
        ({"stream_credit_rows": 127}, "stream_credit_rows is 127 and the largest batch 128"),
        ({"max_queue_bytes": 0}, "max_queue_bytes is 0; use a number above 0"),
        ({"longest_wait_seconds": 0.0}, "longest_wait_seconds is 0.0; use a number above 0"),
        ({"longest_wait_seconds": float("nan")}, "longest_wait_seconds is nan"),
    ],
)
def test_batching_out_of_range_is_refused_with_the_range(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingConfig(**changes)


def test_batch_sizes_are_powers_of_two_and_the_largest_itself() -> None:
    assert buckets_up_to(1) == (1,)
    assert buckets_up_to(12) == (1, 2, 4, 8, 12)
    assert buckets_up_to(128) == BatchingConfig().buckets
    with pytest.raises(ValueError, match="max_batch_rows is 0"):
        buckets_up_to(0)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "x" * 65])
def test_a_name_that_has_no_place_in_a_url_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="give 1 to 64 letters"):
        ModelConfig(name=name, reference="somewhere")
