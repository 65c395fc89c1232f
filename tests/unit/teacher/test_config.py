from __future__ import annotations

import pytest

from services.teacher.config import ModelConfig, TeacherConfig


def checkpoints(*names: str) -> tuple[ModelConfig, ...]:
    return tuple(ModelConfig(name=name, checkpoint="somewhere") for name in names)


def test_more_checkpoints_of_a_name_than_versions_kept_are_refused() -> None:
    TeacherConfig(models=checkpoints("a", "b", "a"), kept_versions=2)
    with pytest.raises(ValueError, match="3 checkpoints are named 'a'.*keep 3"):
        TeacherConfig(models=checkpoints("a", "b", "a", "a"), kept_versions=2)
