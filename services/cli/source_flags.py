"""The flags that describe a teacher, of every command that names one."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from tyro.conf import arg

from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_client.spec import Output
from services.shared.errors import UserError
from services.teacher.policies.source import TeacherSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """What a user says of a teacher beside its name.

    Attributes:
        checkpoint_number: Which checkpoint of a Dopamine directory; the newest by default.
        game: Game of a teacher that does not say it itself, as Dopamine checkpoints.
        output: What its scores are, where it does not say so, as many ONNX files.
        temperature: Divides its logits before the softmax; by default what it says itself, else 1.
        hints: What else a Dopamine checkpoint does not say, where its shapes leave doubt.
    """

    checkpoint_number: int | None = None
    game: str | None = None
    output: Output | None = None
    temperature: float | None = None
    hints: Annotated[Hints, arg(name="")] = Hints()

    def of(self, checkpoint: str) -> TeacherSource:
        """The teacher of that name, as the flags describe it."""
        return TeacherSource(checkpoint=checkpoint, **vars(self))

    def check_unused(self, named_by: str) -> None:
        """Refuse flags that describe a teacher where none is named.

        Args:
            named_by: The flag that would name it.

        Raises:
            UserError: One of the flags is given.
        """
        given = [*_given(self), *_given(self.hints)]
        if given:
            flag = given[-1].replace("_", "-")
            raise UserError(f"--{flag} is about the teacher of {named_by}, and there is none")


def _given(flags: SourceFlags | Hints) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(flags)
        if getattr(flags, field.name) != field.default
    ]
