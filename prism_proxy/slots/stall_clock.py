"""Time in which this process stood ready.

On a busy machine a process may not run for a while, and a busy process does other things before it looks at a reply.
Then every call of a backend was slow and every wait long, by no fault of the backend; whoever judges it by the clock on
the wall sheds calls that it would have taken, and shedding is more work. So what bears on backends is timed by a clock
that stands still while nothing runs, which a timer tells by firing late, and while the thread of the loop works.

It knows a stall up to one tick, and may count as ours some time in which the backend was slow: a `Moment` has both
times, and who uses it decides which error does no harm.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from prism_proxy._native.concurrency_limiter import StallClockCore

TICK_S = 0.005


class Moment(NamedTuple):
    """Seconds of the monotonic clock, and of those in which this process stood ready. Differences have a meaning."""

    wall: float
    running: float


class StallCompensatedClock(StallClockCore):
    """One for all who live on an event loop. It watches, by one timer, while a call is timed or somebody asked to be
    told of ticks.

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
