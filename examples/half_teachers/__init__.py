"""Two teachers of Catch, each of which plays half of it; together they play all of it."""

from half_teachers.teacher import make_left, make_right

__all__ = ["make_left", "make_right"]
