"""The balance of a method's terms with the TD loss, whatever the student's head.

Dopamine's TD losses differ in size: a value costs one Huber loss, a distribution one cross-entropy,
and quantiles cost the sum of N of them. The TD loss stays as it is, since priorities and Adam's
epsilon go by it; the other terms grow with it. N of a student is the number of quantiles that its
loss sums: all of QR-DQN's, those that IQN draws.
"""

from __future__ import annotations

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.term import Term


def balanced_coefficient(term: Term, network: NetworkConfig, student: StudentConfig) -> float:
    """The coefficient that a term has beside a student's TD loss.

    Args:
        term: Of a method.
        network: The student's network.
        student: How it learns.

    Returns:
        The term's own coefficient, or the one for categorical students; of a term that follows the
        TD loss, times the number of losses that the student's TD loss sums.
    """
    coefficient = term.coefficient
    if network.head == "categorical" and term.categorical_coefficient is not None:
        coefficient = term.categorical_coefficient
    return (
        coefficient * td_losses_summed(network, student) if term.follows_td_scale else coefficient
    )


def td_losses_summed(network: NetworkConfig, student: StudentConfig) -> int:
    """How many losses of one quantile the TD loss of a row sums; 1 of other heads."""
    counts = {"quantile": network.num_atoms, "implicit_quantile": student.quantile_samples}
    return counts.get(network.head, 1)
