from __future__ import annotations

import pytest

from services.shared.urls import without_credentials


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("https://me:secret@host/a/policy.onnx?token=x&b=1#c", "https://host/a/policy.onnx"),
        (
            "--teacher.checkpoint=HTTP://me@host:80/p.onnx",
            "--teacher.checkpoint=HTTP://host:80/p.onnx",
        ),
        (
            "ensemble:mean:https://a:b@c/d,Pong/x,https://e:f@g/h",
            "ensemble:mean:https://c/d,Pong/x,https://g/h",
        ),
        ("https://host/p?k=1 --seed 3", "https://host/p --seed 3"),
        ("hf://org/repo@refs%2Fpr%2F1/dqn.zip", "hf://org/repo@refs%2Fpr%2F1/dqn.zip"),
        ("me@host a?b#c", "me@host a?b#c"),
    ],
)
def test_urls_lose_what_may_be_secret_and_nothing_else_changes(text: str, public: str) -> None:
    assert without_credentials(text) == public
