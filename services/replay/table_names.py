"""The names of replay's two tables."""

TEACHER_TABLE = "teacher"
STUDENT_TABLE = "student"
