"""Measures how late the event loop runs what is due, always.

It samples: a stall of 5 ms is seen by one timer in ten. Over minutes that gives the true distribution of what calls
wait for, at the cost of some microseconds a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from prism_proxy._native.grpc.metrics import Histogram

PERIOD_SECONDS = 0.05
LONG_STALL_NS = 2_000_000  # the longest any native call may hold the loop


class LoopMonitor:
    """Every period, the lateness of a timer goes into the histogram `prism_loop_stall_seconds`.

    `long_stalls` counts those over 2 ms. `now_ns` is monotonic; the loop's own clock stands still within an iteration,
    which is just what is to be measured.
    """

    def __init__(self, histogram: Histogram, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._histogram = histogram
        self._now_ns = now_ns
        self._handle: asyncio.TimerHandle | None = None
        self.long_stalls = 0

    def start(self) -> None:
        self._schedule(asyncio.get_running_loop())

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        due_ns = self._now_ns() + int(PERIOD_SECONDS * 1e9)
        self._handle = loop.call_later(PERIOD_SECONDS, self._fired, loop, due_ns)

    def _fired(self, loop: asyncio.AbstractEventLoop, due_ns: int) -> None:
        late_ns = max(0, self._now_ns() - due_ns)
        self._histogram.observe_ns(late_ns)
        self.long_stalls += late_ns > LONG_STALL_NS
        self._schedule(loop)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
