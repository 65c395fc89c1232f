"""Your own policy as a teacher: `rrl teacher serve --checkpoint own_policy:make_teacher`."""

from own_policy.teacher import make_teacher

__all__ = ["make_teacher"]
