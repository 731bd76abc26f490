"""Time in which this process ran.

On a busy machine a process may not run for a while. Then every call of a backend was slow and every wait long, by no
fault of the backend; whoever judges it by the clock on the wall sheds calls that it would have taken. So what bears on
backends is timed by a clock that stands still while nothing runs: a timer tells, by firing late.

It knows a stall up to one tick, and may count as ours some time in which the backend was slow: a `Moment` has both
times, and who uses it decides which error does no harm.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import NamedTuple

TICK_S = 0.005
LATE_S = 0.002  # a timer of libuv counts whole milliseconds


class Moment(NamedTuple):
    """Seconds of the monotonic clock, and of those in which this process ran. Differences have a meaning."""

    wall: float
    running: float


class RunningClock:
    """One for all who live on an event loop. It watches, by one timer, while somebody asked to be told of ticks.

    `clock` is monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lost = 0.0
        self._due = math.inf  # when the timer fires
        self._timer: asyncio.TimerHandle | None = None
        self._told: set[Callable[[], None]] = set()

    def now(self) -> Moment:
        wall = self._clock()
        late = wall - self._due
        if late > LATE_S:
            self._lost += late
            self._due = wall  # until the timer, which is about to fire, says when it does next
        return Moment(wall, wall - self._lost)

    def tell(self, tick: Callable[[], None]) -> None:
        """Call `tick` at every tick from now on; once, however often it is asked for."""
        self._told.add(tick)
        if self._timer is None:
            self._schedule()

    def spare(self, tick: Callable[[], None]) -> None:
        """No more of it. With nobody to tell, the clock stops watching."""
        self._told.discard(tick)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._fired)
        self._due = self._clock() + TICK_S

    def _fired(self) -> None:
        self.now()
        self._timer, self._due = None, math.inf
        for tick in tuple(self._told):
            tick()
        if self._told and self._timer is None:
            self._schedule()
