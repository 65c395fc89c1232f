"""Clients of the teacher service, for agents to import. They need grpcio, protobuf and numpy.

The values of a batch of states, and the actions they prefer:

    from rrl_client import TeacherClient

    with TeacherClient("127.0.0.1:50051") as teacher:
        answer = teacher.evaluate(observations)  # uint8 [B, 84, 84, 4]
        actions = answer.action_values.argmax(axis=1)  # float32 [B, A]
"""

from rrl_client.blocking import TeacherClient
from rrl_client.client import AsyncTeacherClient
from rrl_client.codec import TeacherAnswer
from rrl_client.errors import (
    TeacherError,
    TeacherFailed,
    TeacherNotFound,
    TeacherOverloaded,
    TeacherRejected,
    TeacherTimeout,
    TeacherUnauthenticated,
    TeacherUnavailable,
)
from rrl_client.policy import TeacherPolicy
from rrl_client.requests import Priority
from rrl_client.security import ClientSecurity
from rrl_client.spec import PolicySpec, TeacherDescription

__all__ = [
    "AsyncTeacherClient",
    "ClientSecurity",
    "PolicySpec",
    "Priority",
    "TeacherAnswer",
    "TeacherClient",
    "TeacherDescription",
    "TeacherError",
    "TeacherFailed",
    "TeacherNotFound",
    "TeacherOverloaded",
    "TeacherPolicy",
    "TeacherRejected",
    "TeacherTimeout",
    "TeacherUnauthenticated",
    "TeacherUnavailable",
]
