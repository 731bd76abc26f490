"""How a command about keys fails."""

from __future__ import annotations


class CommandError(Exception):
    """What the user is told."""
