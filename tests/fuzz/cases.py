"""Random cases, as many as the time allows, each of which can be run again alone.

`PRISM_FUZZ_SECONDS` is the time of each test (4, or 120 with `PRISM_SOAK=1`), `PRISM_FUZZ_SEED` the first seed. A soak
starts at a random seed, the short form always at the same one. A failure names its seeds: run again with the first of
them as `PRISM_FUZZ_SEED`.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator

SOAK = os.environ.get("PRISM_SOAK") == "1"
SECONDS = float(os.environ.get("PRISM_FUZZ_SECONDS") or (120 if SOAK else 4))
FIRST = int(os.environ.get("PRISM_FUZZ_SEED") or (random.SystemRandom().randrange(2**32) if SOAK else 1))
LEAST = 40  # batches a slow machine runs too


def batches(size: int) -> Iterator[list[random.Random]]:
    """Lists of `size` generators, each of its own seed, until the time is up."""
    end = time.monotonic() + SECONDS
    seed = FIRST
    while time.monotonic() < end or seed < FIRST + LEAST * size:
        yield [random.Random(seed + offset) for offset in range(size)]
        seed += size


@contextlib.contextmanager
def blamed(batch: int, size: int) -> Iterator[None]:
    """Names the seeds of a batch in whatever failure passes through."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"run again with PRISM_FUZZ_SEED={FIRST + batch * size} ({size} seeds from there)")
        raise
