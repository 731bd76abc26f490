"""Gives memory that calls and connections have left behind back to the system.

The C allocator keeps what was freed for the next peak; after a flood of connections or of waiting calls that is most of
the process. It is given back once use has stopped growing, in a thread, because it may take milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor

from prism_proxy._native.runtime.heap import free_bytes, trim

EVERY_SECONDS = 2.0
WORTH_BYTES = 16 * 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


class Trimmer:
    """`tick(now)` is called often; it acts when the process has grown since the last time and has much that is free."""

    def __init__(self, executor: Executor, resident: Callable[[], int] = resident_bytes,
                 free: Callable[[], int] = free_bytes, give_back: Callable[[], None] = trim) -> None:
        self._executor = executor
        self._resident, self._free, self._give_back = resident, free, give_back
        self._floor = resident()  # after the last time
        self._before = self._floor
        self._next = 0.0
        self._trimmed = False

    def tick(self, now: float) -> None:
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        resident, before = self._resident(), self._before
        self._before = resident
        if self._trimmed:
            self._floor, self._trimmed = resident, False
        self._floor = min(self._floor, resident)
        if resident <= before and resident - self._floor > WORTH_BYTES and self._free() > WORTH_BYTES:
            self._trimmed = True
            self._executor.submit(self._give_back)
