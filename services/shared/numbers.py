"""What every reader of settings holds numbers to."""

from __future__ import annotations

LARGEST_WHOLE = 10**18 - 1
"""Largest whole number of a setting, and with the other sign the smallest: any array holds it."""
