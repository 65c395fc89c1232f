"""A teacher's card as the README.md of a repository on the Hugging Face Hub.

The metadata before the text has the scores as a `model-index`, as usual for reinforcement learning,
and under `rrl` the rules of play, the digest of the parameters and the ancestors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from rrl_agents.checkpoints.card_markdown import card_markdown
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.escaped_markdown import one_line
from rrl_agents.typed_json import encode

_LIBRARY = "rrl-agents"
_TASK = "reinforcement-learning"


def hub_readme(card: TeacherCard, reference: str) -> str:
    """Write the README.

    Args:
        card: The teacher's card.
        reference: Its repository, `hf://ORG/REPO`.

    Returns:
        YAML between two lines of dashes, then Markdown.
    """
    data = ModelCardData(
        library_name=_LIBRARY,
        pipeline_tag=_TASK,
        tags=[_TASK, "reincarnating-rl", one_line(card.game), one_line(card.algorithm)],
        model_name=one_line(card.name),
        eval_results=[*_scores(card)],
        rrl={
            "parameters_sha256": card.parameters_sha256,
            "protocol": None if card.protocol is None else encode(card.protocol),
            "random_return": card.random_return,
            "parents": _parents(card),
        },
    )
    use = f"    rrl teacher serve --checkpoint {reference}"
    return f"---\n{data.to_yaml()}\n---\n\n{card_markdown(card)}\n## How to use it\n\n{use}\n"


def _scores(card: TeacherCard) -> Iterator[EvalResult]:
    score = card.score
    if score is None:
        return
    yield EvalResult(
        task_type=_TASK,
        task_name=_TASK,
        dataset_type=one_line(card.game),
        dataset_name=one_line(card.game),
        metric_type="mean_reward",
        metric_name="mean_reward",
        # In the form for the Hub's reinforcement learning leaderboards.
        metric_value=f"{score.mean_return:.2f} +/- {score.std_return:.2f}",
        metric_args={
            "episodes": score.episodes,
            "epsilon": score.epsilon,
            "sticky_actions": score.sticky_actions,
        },
    )


def _parents(card: TeacherCard) -> list[dict[str, Any]]:
    return [
        {
            "name": one_line(parent.card.name),
            "relations": list(parent.relations),
            "parameters_sha256": parent.card.parameters_sha256,
            "mean_return": None if parent.card.score is None else parent.card.score.mean_return,
            "parents": _parents(parent.card),
        }
        for parent in card.parents
    ]
