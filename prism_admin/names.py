"""What a namespace may be called."""

from __future__ import annotations

import re

_NAME = re.compile(r"\$?[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]")


def name_problem(name: str) -> str | None:
    """Why a name cannot be used, as a sentence; None when it can."""
    if not name:
        return "a namespace needs a name"
    if not _NAME.fullmatch(name):
        return (f"namespace name {name[:80]!r}: use 3 to 63 lower-case letters, digits and inner hyphens, starting and "
                "ending with a letter or digit")
    return None
