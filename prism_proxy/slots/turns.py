"""Calls take turns at a backend: as many at once as its limit allows, the others in line.

Bulk work (scans, batches) may fill nine tenths of the limit, and has a line of its own, behind the other: it is shed
first. All times are those in which this process ran.
"""

from __future__ import annotations

import asyncio

from prism_proxy.slots.limit import AdaptiveLimit
from prism_proxy.slots.line import Line
from prism_proxy.slots.options import ConcurrencyOptions
from prism_proxy.slots.running import Moment, RunningClock

BULK_SHARE = 0.9


class Turns:
    """`enter` or `wait`, then `leave`. `shed` counts calls that got no turn."""

    def __init__(self, options: ConcurrencyOptions, clock: RunningClock) -> None:
        now = clock.now().running
        self.limit = AdaptiveLimit(options, now)
        self._max_queued = options.max_queued
        self._clock = clock
        self._line, self._bulk = Line(now), Line(now)
        self.in_flight = 0
        self.shed = 0

    @property
    def queued(self) -> int:
        return len(self._line) + len(self._bulk)

    def enter(self, *, bulk: bool = False) -> bool:
        """Take a turn at once; False when others are before, or none is free."""
        if self._line or (bulk and self._bulk) or not self._free(bulk=bulk):
            return False
        self.in_flight += 1
        self._clock.tell(self._tick)
        return True

    async def wait(self, *, bulk: bool = False) -> bool:
        """Wait for a turn. False: the call is shed."""
        now = self._clock.now().running
        self._expire(now)
        if self.queued >= self._max_queued:
            self.shed += 1
            return False
        turn = (self._bulk if bulk else self._line).join(now)
        self._clock.tell(self._tick)
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self.leave()  # it was given while the caller went away
            raise

    def leave(self, began: Moment | None = None) -> None:
        """A call ended: the next ones take their turns. `began` is when it did, if its time tells of the backend."""
        now = self._clock.now()
        if began is not None:
            self.limit.observe(began, now, self.in_flight)
        self.in_flight -= 1
        if not self._line and not self._bulk:
            return
        self._expire(now.running)
        while self._free(bulk=False) and self._line.serve():
            self.in_flight += 1
        while not self._line and self._free(bulk=True) and self._bulk.serve():
            self.in_flight += 1

    def _free(self, *, bulk: bool) -> bool:
        return self.in_flight < (self.limit.current * BULK_SHARE if bulk else self.limit.current)

    def _expire(self, now: float) -> None:
        self.shed += self._line.expire(now, self.limit.slack) + self._bulk.expire(now, self.limit.slack)

    def _tick(self) -> None:
        """Calls are shed in time even when none ends."""
        self._expire(self._clock.now().running)
        if not self.queued and not self.in_flight:
            self._clock.spare(self._tick)
