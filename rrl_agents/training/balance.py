"""Balances a method's terms with the TD loss, for every head.

Dopamine's TD losses differ in size: a value costs one Huber loss, a distribution one cross-entropy,
and quantiles cost the sum of N of them. The TD loss stays unchanged, because priorities and Adam's
epsilon depend on it; the other terms are scaled with it. N is the number of quantiles that the
student's loss sums: all of QR-DQN's, or those that IQN draws.
"""

from __future__ import annotations

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.term import Term


def balanced_coefficient(term: Term, network: NetworkConfig, student: StudentConfig) -> float:
    """The coefficient that a term has beside a student's TD loss.

    Args:
        term: A method's term.
        network: The student's network.
        student: How it learns.

    Returns:
        The term's coefficient, or the one for categorical students; for a term that follows the TD
        loss, times the number of losses that the student's TD loss sums.
    """
    coefficient = term.coefficient
    if network.head == "categorical" and term.categorical_coefficient is not None:
        coefficient = term.categorical_coefficient
    return (
        coefficient * td_losses_summed(network, student) if term.follows_td_scale else coefficient
    )


def td_losses_summed(network: NetworkConfig, student: StudentConfig) -> int:
    """The number of quantile losses that the TD loss of a row sums; 1 for other heads."""
    counts = {"quantile": network.num_atoms, "implicit_quantile": student.quantile_samples}
    return counts.get(network.head, 1)
