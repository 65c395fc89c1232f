"""A policy of any kind is loaded by its reference; each kind's own tests say what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from services.shared.errors import UserError
from services.teacher.policies.jax_policy import JaxPolicy
from services.teacher.policies.loading import load_policy
from services.teacher.policies.onnx_policy import OnnxPolicy

PONG = "pong_dqn"


def test_a_backend_that_is_named_is_taken() -> None:
    assert isinstance(load_policy(PONG, backend="jax"), JaxPolicy)
    assert isinstance(load_policy(PONG, backend="onnx", max_concurrency=1), OnnxPolicy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "torch"}, "backend is 'torch'; choose"),
        ({"backend": "jax", "dtype": "float16"}, "dtype is 'float16'; choose"),
    ],
)
def test_what_cannot_be_loaded_is_an_error_for_the_user(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_policy(PONG, **options)
