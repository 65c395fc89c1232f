"""Environments of one's own, each with a scripted teacher: README.md says how they are trained."""
