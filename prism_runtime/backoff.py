"""Pauses between attempts: exponential and jittered, so that many clients of one server do not come back together."""

from __future__ import annotations

import random

MOST_DOUBLINGS = 16


def backoff(failures: int, first_s: float, most_s: float) -> float:
    """Seconds to wait after `failures` failed attempts before this one: half to all of a ceiling that doubles."""
    ceiling: float = min(most_s, first_s * 2 ** min(failures, MOST_DOUBLINGS))
    return random.uniform(ceiling / 2, ceiling)


def jittered(seconds: float, share: float) -> float:
    """`seconds`, more or less by up to `share` of it."""
    return seconds * random.uniform(1 - share, 1 + share)
