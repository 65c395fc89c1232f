"""Custom environments, each with a scripted teacher: README.md says how to train on them."""
