"""What a user says of a teacher's scores, which goes before what the teacher says of itself."""

from __future__ import annotations

import dataclasses

from rrl_client.spec import DEFAULT_TEMPERATURE, Output, PolicySpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatedScores:
    """What the scores are; None for what the teacher says itself.

    Attributes:
        output: "q_values" or "logits".
        temperature: Divides logits before the softmax, above 0.
    """

    output: Output | None = None
    temperature: float | None = None

    def applied_to(self, spec: PolicySpec) -> PolicySpec:
        """What a policy takes and gives, with these scores; logits always have a temperature.

        Args:
            spec: What the teacher says itself.

        Raises:
            ValueError: Output or temperature are out of range, or do not go together.
        """
        output = spec.output if self.output is None else self.output
        temperature = spec.temperature if output == spec.output else None
        if self.temperature is not None:
            temperature = self.temperature
        if output == "logits" and temperature is None:
            temperature = DEFAULT_TEMPERATURE
        return dataclasses.replace(spec, output=output, temperature=temperature)
