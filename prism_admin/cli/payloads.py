"""Messages in a terminal: how old they are, and the beginning of what they carry."""

from __future__ import annotations

import time

SHOWN_BYTES = 60


def age(milliseconds: int) -> str:
    """Since a time; `-` where there is none."""
    return f"{max(0.0, time.time() - milliseconds / 1000):.0f} s" if milliseconds else "-"


def milliseconds_ago(seconds: float) -> int:
    """The time so long ago."""
    return int((time.time() - seconds) * 1000)


def text(payload: bytes) -> str:
    """The beginning, on one line; terminals are not sent control characters."""
    shown = payload[:SHOWN_BYTES].decode(errors="replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown) + (
        "…" if len(payload) > SHOWN_BYTES else "")
