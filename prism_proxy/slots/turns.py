"""Calls take turns at a backend: as many at once as its limit allows, the others in line.

Native handlers take part without asking here, as long as nobody waits and a place is free: `TurnsCore` counts and times
the calls of both. Bulk work (scans, batches) may fill nine tenths of the limit, and has a line of its own, behind the
other: it is shed first. All times are those in which this process stood ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prism_proxy._native.turns import TurnsCore
from prism_proxy.errors import PrismError
from prism_proxy.slots.limit import AdaptiveLimit
from prism_proxy.slots.line import Line, Turn
from prism_proxy.slots.options import ConcurrencyOptions
from prism_proxy.slots.running import Moment, RunningClock

BULK_SHARE = 0.9


class Turns(TurnsCore):
    """`enter` or `wait`, then `leave`. `shed` counts calls that got no turn; `refusal(operation)` is their error."""

    def __init__(self, options: ConcurrencyOptions, clock: RunningClock, refusal: Callable[[str], PrismError]) -> None:
        now = clock.now().running
        super().__init__(clock, now)
        self.limit = AdaptiveLimit(options, now)
        self._max_queued = options.max_queued
        self._clock = clock
        self._refusal = refusal
        self._line, self._bulk = Line(now), Line(now)
        self.shed = 0
        self.set_limit(self.limit.current, self.limit.window_s)

    @property
    def queued(self) -> int:
        return len(self._line) + len(self._bulk)

    def enter(self, *, bulk: bool = False) -> bool:
        """Take a turn at once; False when others are before, or none is free."""
        if self._line or (bulk and self._bulk) or not self._free(bulk=bulk):
            return False
        self.take()
        return True

    async def wait(self, *, bulk: bool = False) -> bool:
        """Wait for a turn. False: the call is shed."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not self.join(turn, bulk=bulk):
            return False
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self.leave()  # it was given while the caller went away
            raise

    def join(self, turn: Turn, *, bulk: bool = False) -> bool:
        now = self._clock.now().running
        self._expire(now)
        waits = self.queued < self._max_queued
        if waits:
            (self._bulk if bulk else self._line).join(turn, now)
            self._clock.tell(self._tick)
        else:
            self.shed += 1
        self._tell_lines()
        return waits

    def leave(self, began: Moment | None = None) -> None:
        """A call ended: the next ones take their turns. `began` is when it did, if its time tells of the backend."""
        if began is not None:
            now = self._clock.now()
            self.observe(began.running, now.running, now.wall - began.wall)
        self.give_back()
        if self._line or self._bulk:
            self.serve()

    def serve(self) -> None:
        self._expire(self._clock.now().running)
        while self._line and self._free(bulk=False):
            self._give(self._line)
        while not self._line and self._bulk and self._free(bulk=True):
            self._give(self._bulk)
        self._tell_lines()

    def window_closed(self, latency: float, at_most: float, peak: int, now: float) -> None:
        self.limit.window_closed(latency, at_most, peak, now)
        self.set_limit(self.limit.current, self.limit.window_s)

    def refusal(self, operation: str) -> PrismError:
        return self._refusal(operation)

    def _give(self, line: Line) -> None:
        self.take()  # first: who is given it may give it back at once
        if not line.serve():
            self.give_back()

    def _free(self, *, bulk: bool) -> bool:
        return self.in_flight < (self.allowed * BULK_SHARE if bulk else self.allowed)

    def _expire(self, now: float) -> None:
        slack, settled = self.limit.slack, self.limit.settled
        self.shed += self._line.expire(now, slack, settled=settled) + self._bulk.expire(now, slack, settled=settled)

    def _tell_lines(self) -> None:
        line = bool(self._line)
        self.set_lines(line, line or bool(self._bulk))

    def _tick(self) -> None:
        """Calls are shed in time even when none ends."""
        self._expire(self._clock.now().running)
        self._tell_lines()
        if not self.queued:
            self._clock.spare(self._tick)
