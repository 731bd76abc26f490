"""Limits the calls at a backend: each takes a permit, and calls beyond the limit wait in an admission queue.

Native handlers take permits without asking here as long as nobody waits and one is free: `ConcurrencyCore` counts and
times the calls of both. Bulk work (scans, batches) may fill nine tenths of the limit and has its own queue, behind the
other, so it is shed first. All times are those of the stall-compensated clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prism_proxy._native.slots.concurrency_limiter import ConcurrencyCore
from prism_proxy.errors import PrismError
from prism_proxy.slots.adaptive_limit import AdaptiveLimit
from prism_proxy.slots.admission_queue import AdmissionQueue, PermitFuture
from prism_proxy.slots.options import ConcurrencyOptions
from prism_proxy.slots.stall_clock import Moment, StallCompensatedClock

BULK_SHARE = 0.9


class ConcurrencyLimiter(ConcurrencyCore):
    """`enter` or `wait`, then `leave`. `shed` counts calls that got no permit; `refusal(operation)` is their error."""

    def __init__(self, options: ConcurrencyOptions, clock: StallCompensatedClock,
                 refusal: Callable[[str], PrismError]) -> None:
        now = clock.now().running
        super().__init__(clock, now)
        self.limit = AdaptiveLimit(options, now)
        self._max_queued = options.max_queued
        self._clock = clock
        self._refusal = refusal
        self._queue, self._bulk_queue = AdmissionQueue(now), AdmissionQueue(now)
        self.shed = 0
        self.set_limit(self.limit.current, self.limit.window_s)

    @property
    def queued(self) -> int:
        return len(self._queue) + len(self._bulk_queue)

    def enter(self, *, bulk: bool = False) -> bool:
        """Take a permit at once; False when others are before, or none is free."""
        if self._queue or (bulk and self._bulk_queue) or not self._free(bulk=bulk):
            return False
        self.take()
        return True

    async def wait(self, *, bulk: bool = False) -> bool:
        """Wait for a permit. False: the call is shed."""
        permit: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not self.join(permit, bulk=bulk):
            return False
        try:
            return await permit
        except asyncio.CancelledError:
            if not permit.cancelled() and permit.result():
                self.leave()  # it was given while the caller went away
            raise

    def join(self, permit: PermitFuture, *, bulk: bool = False) -> bool:
        now = self._clock.now().running
        self._expire(now)
        waits = self.queued < self._max_queued
        if waits:
            (self._bulk_queue if bulk else self._queue).join(permit, now)
            self._clock.tell(self._tick)
        else:
            self.shed += 1
        self._publish_queues()
        return waits

    def leave(self, began: Moment | None = None) -> None:
        """A call ended: waiting calls get its permit. `began` is given when its time says something of the backend."""
        if began is not None:
            now = self._clock.now()
            self.observe(began.running, now.running, now.wall - began.wall)
        self.give_back()
        if self._queue or self._bulk_queue:
            self.serve()

    def serve(self) -> None:
        self._expire(self._clock.now().running)
        while self._queue and self._free(bulk=False):
            self._give(self._queue)
        while not self._queue and self._bulk_queue and self._free(bulk=True):
            self._give(self._bulk_queue)
        self._publish_queues()

    def window_closed(self, latency: float, at_most: float, peak: int, now: float) -> None:
        self.limit.window_closed(latency, at_most, peak, now)
        self.set_limit(self.limit.current, self.limit.window_s)

    def refusal(self, operation: str) -> PrismError:
        return self._refusal(operation)

    def _give(self, queue: AdmissionQueue) -> None:
        self.take()  # first: who is given it may give it back at once
        if not queue.serve():
            self.give_back()

    def _free(self, *, bulk: bool) -> bool:
        return self.in_flight < (self.allowed * BULK_SHARE if bulk else self.allowed)

    def _expire(self, now: float) -> None:
        slack, settled = self.limit.slack, self.limit.settled
        self.shed += self._queue.expire(now, slack, settled=settled)
        self.shed += self._bulk_queue.expire(now, slack, settled=settled)

    def _publish_queues(self) -> None:
        queue = bool(self._queue)
        self.set_queues(queue, queue or bool(self._bulk_queue))

    def _tick(self) -> None:
        """Calls are shed in time even when none ends."""
        self._expire(self._clock.now().running)
        self._publish_queues()
        if not self.queued:
            self._clock.spare(self._tick)
