"""The card of an ensemble of teachers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rrl_agents.checkpoints.teacher_card import UNKNOWN_GAME, Compute, Parent, TeacherCard
from rrl_agents.ensembles import RULES, Ensemble
from rrl_agents.environments.game_names import name_key
from rrl_client.spec import DEFAULT_TEMPERATURE


def ensemble_card(ensemble: Ensemble, members: Sequence[TeacherCard]) -> TeacherCard:
    """The card of an ensemble, with its members' cards as parents.

    Args:
        ensemble: The ensemble.
        members: Cards of its members, in its order.

    Raises:
        ValueError: they do not fit together; names two, and how they differ.
    """
    rule, first = RULES[ensemble.rule], members[0]
    game = next((card.game for card in members if card.game != UNKNOWN_GAME), UNKNOWN_GAME)
    meanings = next((card.action_meanings for card in members if card.action_meanings), ())
    _check_fit(ensemble, members, game, meanings)
    digest = hashlib.sha256(f"{ensemble.rule} {ensemble.temperature}".encode())
    for card in members:
        digest.update(bytes.fromhex(card.parameters_sha256))
    return TeacherCard(
        name=f"{ensemble.rule} of {', '.join(card.name for card in members)}",
        game=game,
        network=None,
        num_actions=first.num_actions,
        observation_shape=first.observation_shape,
        observation_dtype=first.observation_dtype,
        observation_order=first.observation_order,
        action_meanings=meanings,
        output="q_values" if rule.gives_values else "logits",
        temperature=None if rule.gives_values else DEFAULT_TEMPERATURE,
        algorithm="ensemble",
        made=f"an ensemble of {len(members)} teachers: {rule.summary}",
        # Combining costs nothing; the members' costs are on their cards.
        compute=Compute(
            environment_frames=0, teacher_frames=0, gradient_updates=0, hardware_seconds=0.0
        ),
        protocol=first.protocol if all(c.protocol == first.protocol for c in members) else None,
        parents=tuple(Parent(relations=("member",), card=card) for card in members),
        parameters_sha256=digest.hexdigest(),
    )


def _check_fit(
    ensemble: Ensemble, members: Sequence[TeacherCard], game: str, meanings: tuple[str, ...]
) -> None:
    rule, first = RULES[ensemble.rule], members[0]
    for card in members:
        misfit = card.spec.misfit(
            observation_shape=first.observation_shape,
            observation_dtype=first.observation_dtype,
            num_actions=first.num_actions,
            of=first.name,
        )
        if misfit is None and name_key(card.game) not in (name_key(UNKNOWN_GAME), name_key(game)):
            misfit = f"plays {card.game}, another one {game}"
        if misfit is None and card.action_meanings not in ((), meanings):
            misfit = f"has the actions {_words(card.action_meanings)}, another {_words(meanings)}"
        if misfit is None and rule.gives_values and card.output != "q_values":
            misfit = f"gives {card.output}, and {ensemble.rule} is of action values: use mean"
        if misfit is not None:
            raise ValueError(f"{ensemble}: the teacher {card.name} {misfit}")


def _words(meanings: Sequence[str]) -> str:
    return ", ".join(map(repr, meanings))
