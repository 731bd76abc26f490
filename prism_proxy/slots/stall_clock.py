"""Monotonic time minus the time this process was descheduled or busy, so that latency samples blame only the backend.

On a busy machine a process may not run for a while, and a busy process does other things before it reads a reply. Every
call then looks slow although the backend is not. Judging the backend by wall time would shed calls that it could take,
and shedding is more work. So all that judges backends uses a clock that stands still while the process does not run,
which a late timer shows, and while the loop's thread works.

The clock misses stalls shorter than one tick, and may count slowness of the backend as a stall. A `Moment` has both
times; its user chooses the one whose error does no harm.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from prism_proxy._native.slots.concurrency_limiter import StallClockCore

TICK_S = 0.005


class Moment(NamedTuple):
    """Seconds of the monotonic clock, and of those in which this process stood ready. Differences have a meaning."""

    wall: float
    running: float


class StallCompensatedClock(StallClockCore):
    """One for all who live on an event loop. It watches, by one timer, while a call is timed or somebody asked to be
    get ticks.

    `clock` is monotonic seconds; the loop's thread is known to work only by the usual one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock is time.monotonic)
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._told: set[Callable[[], None]] = set()

    def now(self) -> Moment:
        wall = self._clock()
        return Moment(wall, self.at(wall))

    def tell(self, tick: Callable[[], None]) -> None:
        """Call `tick` at every tick from now on; once, however often it is asked for."""
        self._told.add(tick)
        self.watch()

    def spare(self, tick: Callable[[], None]) -> None:
        """No more of it."""
        self._told.discard(tick)

    def watch(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._fired)
            self.expect(self._clock() + TICK_S)

    def _fired(self) -> None:
        self.now()
        self._timer = None
        self.expect(math.inf)
        for tick in tuple(self._told):
            tick()
        if self._told or self.busy:
            self.watch()
