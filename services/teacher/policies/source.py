"""Where a policy comes from, and what the user says of it."""

from __future__ import annotations

import dataclasses

from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_agents.checkpoints.stated_scores import StatedScores
from rrl_client.spec import Output


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherSource:
    """A teacher of any kind, as a user names it.

    What the user says goes before what the teacher says of itself.

    Attributes:
        checkpoint: Name of the catalogue, teacher directory, Dopamine checkpoint directory, ONNX
            file, or a Python policy as `module:factory`.
        checkpoint_number: Which checkpoint of a Dopamine directory; the newest when None.
        game: Game of a teacher that does not say it, as Dopamine checkpoints; None where it does.
        output: What its scores are; None for what it says itself.
        temperature: Divides its logits before the softmax, above 0; None for what it says itself.
        hints: What else a Dopamine checkpoint does not say, where its shapes leave doubt.
    """

    checkpoint: str
    checkpoint_number: int | None = None
    game: str | None = None
    output: Output | None = None
    temperature: float | None = None
    hints: Hints = Hints()

    @property
    def stated_scores(self) -> StatedScores:
        """What the user says of its scores."""
        return StatedScores(output=self.output, temperature=self.temperature)
