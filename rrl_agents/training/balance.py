"""The balance of a method's terms with the TD loss, whatever the student's head.

Dopamine's TD losses differ in size: a value costs one Huber loss, a distribution one cross-entropy,
and quantiles cost the sum of N of them. The TD loss stays as it is, since priorities and Adam's
epsilon go by it; the other terms grow with it. N of a student is the number of quantiles that its
loss sums: all of QR-DQN's, those that IQN draws.
"""

from __future__ import annotations

import dataclasses

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.objective import Term


def balanced_terms(
    terms: tuple[Term, ...], network: NetworkConfig, student: StudentConfig
) -> tuple[Term, ...]:
    """The terms of a method with the coefficients that they have for a student.

    Args:
        terms: Of the method.
        network: The student's network.
        student: How it learns.

    Returns:
        The same terms; those that follow the TD loss have their coefficient, or that of categorical
        students, times the number of losses that the student's TD loss sums.
    """
    scale = td_losses_summed(network, student)
    return tuple(_balanced(term, network.head, scale) for term in terms)


def td_losses_summed(network: NetworkConfig, student: StudentConfig) -> int:
    """How many losses of one quantile the TD loss of a row sums; 1 of other heads."""
    counts = {"quantile": network.num_atoms, "implicit_quantile": student.quantile_samples}
    return counts.get(network.head, 1)


def _balanced(term: Term, head: str, scale: int) -> Term:
    if not term.follows_td_scale:
        return term
    coefficient = term.coefficient
    if head == "categorical" and term.categorical_coefficient is not None:
        coefficient = term.categorical_coefficient
    return dataclasses.replace(term, coefficient=coefficient * scale, categorical_coefficient=None)
